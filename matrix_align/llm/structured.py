"""Typed replies: what a reply can be, and a model's text made into one.

A reply type is `str`, a `Prose` class (free text that must pass a check) or a pydantic class. Classes are made once;
`Within` says which values one call allows in them. The schemas are schema.py's. Knows no HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    RootModel,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from ..types import Frozen, clean, shorten

T = TypeVar("T", bound="str | BaseModel")
Allowed: TypeAlias = dict[str, tuple[str | int, ...]]  # by the name of a field, at whatever depth of the reply

_DECODER = json.JSONDecoder(strict=False)
_FENCED = re.compile(r"```(?:json)?[ \t]*\r?\n(.*?)```", re.DOTALL)


def _line(limit: int) -> BeforeValidator:
    return BeforeValidator(lambda value: shorten(clean(value), limit) if isinstance(value, str) else value)


def at_most(count: int) -> BeforeValidator:
    """Cuts a list that is too long, as texts are: how many is our wish, not the model's duty."""
    return BeforeValidator(lambda value: value[:count] if isinstance(value, list) else value)


# A short text a model writes. A longer one is cut, not refused: the length is our wish, not the model's duty.
Name = Annotated[str, _line(40), StringConstraints(min_length=1, max_length=40)]
Phrase = Annotated[str, _line(60), StringConstraints(min_length=1, max_length=60)]
Line = Annotated[str, _line(100), StringConstraints(min_length=1, max_length=100)]
OptionalLine = Annotated[str, _line(100), StringConstraints(max_length=100)]
Passage = Annotated[str, _line(240), StringConstraints(min_length=1, max_length=240)]


class FromModel(Frozen):
    """Base of what a model writes: keys we did not ask for are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @field_validator("*")
    @classmethod
    def _is_allowed(cls, value: Any, info: ValidationInfo) -> Any:
        """Where the call allows only some values of this field (`Within`), it holds no other."""
        if info.context and (allowed := info.context.get(info.field_name)):
            for each in value if isinstance(value, tuple) else (value,):
                if each not in allowed:
                    raise ValueError(f"{each!r} is none of {', '.join(map(repr, allowed))}")
        return value


class Prose(RootModel[Annotated[str, StringConstraints(min_length=1)]]):
    """Free text a model writes, with validators of its own; asked for without a schema."""


class AsWritten(Prose):
    """What a model writes, whatever it is: an answer that ends before it has begun is one too."""

    root: str


@dataclass(frozen=True)
class Within(Generic[T]):
    """A reply class, and the values that one call allows in its fields: the names of a cast, the numbers of its events.

    A list holds each allowed value at most once. The class is a FromModel, which checks this.
    """

    reply: type[T]
    allowed: Allowed


Wanted: TypeAlias = type[T] | Within[T]


def class_of(wanted: Wanted[T]) -> type[T]:
    """The class that a reply is made into."""
    return wanted.reply if isinstance(wanted, Within) else wanted


def is_text(wanted: Wanted[Any]) -> bool:
    """Whether the reply is written as plain text rather than as a JSON object."""
    return issubclass(class_of(wanted), str | Prose)


def parse(text: str, wanted: Wanted[T]) -> T:
    """A model's answer as the reply that is wanted.

    Raises ValueError, with a message short and plain enough to be shown to the model, where it is not one.
    """
    text, reply = clean(text).strip(), class_of(wanted)
    if not text and reply is not AsWritten:
        raise ValueError("the reply is empty")
    allowed = wanted.allowed if isinstance(wanted, Within) else None
    try:
        if issubclass(reply, BaseModel):
            return reply.model_validate(text if is_text(reply) else _object(text), context=allowed)
        return reply(text)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc'])) or 'the reply'}: {each['msg']}" for each in error.errors()[:5]]
        raise ValueError("; ".join(faults)) from None


def _object(text: str) -> Any:
    """The JSON object in `text`: all of it, the content of a fence, or from the first brace on."""
    for candidate in _candidates(text):
        try:
            value, _ = _DECODER.raw_decode(candidate.strip())
            if isinstance(value, dict):
                return _cleaned(value) if "\\u" in candidate else value  # escapes can spell what is not clean
        except (ValueError, RecursionError):
            continue
    raise ValueError("the reply holds no whole JSON object")


def _candidates(text: str) -> Iterator[str]:
    yield text
    if fenced := _FENCED.search(text):
        yield fenced.group(1)
    if (start := text.find("{")) >= 0:
        yield text[start:]


def _cleaned(value: Any) -> Any:
    """`value` with every text cleaned: JSON escapes can spell NULs and lone surrogates."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    if isinstance(value, dict):
        return {clean(key): _cleaned(each) for key, each in value.items()}
    return value
