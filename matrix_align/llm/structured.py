"""Typed replies: the reply types, and how a model's text becomes a reply.

A reply type is `str`, a `Prose` class (free text that must pass a check) or a pydantic class. Each class is defined
once. `Within` limits the values that one call allows in its fields. schema.py owns the schemas. Knows no HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
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
Allowed: TypeAlias = dict[str, tuple[str | int, ...]]  # by field name, at any depth of the reply

NOTHING = {"none", "nobody", "nothing", "no one", "n/a", "-"}
_DECODER = json.JSONDecoder(strict=False)
_FENCED = re.compile(r"```(?:json)?[ \t]*\r?\n(.*?)```", re.DOTALL)


def _up_to(limit: int) -> BeforeValidator:
    """Cuts a text that is too long. The length is our wish, not the model's duty."""

    def cut(value: Any, info: ValidationInfo) -> Any:
        most = BRIEF.get(limit, limit) if info.context and info.context.brief else limit
        return shorten(clean(value), most) if isinstance(value, str) else value

    return BeforeValidator(cut)


def _nothing(value: Any) -> Any:
    """Nothing, where a model writes that there is nothing instead of writing nothing."""
    return "" if isinstance(value, str) and value.strip(" .").casefold() in NOTHING else value


def at_most(count: int) -> BeforeValidator:
    """Cuts a list that is too long, as texts are cut: the number is our wish, not the model's duty."""
    return BeforeValidator(lambda value: value[:count] if isinstance(value, list) else value)


# Texts that a model writes, by their greatest length in characters.
Name = Annotated[str, _up_to(40), StringConstraints(min_length=1, max_length=40)]
Phrase = Annotated[str, _up_to(60), StringConstraints(min_length=1, max_length=60)]
OptionalPhrase = Annotated[str, BeforeValidator(_nothing), _up_to(60), StringConstraints(max_length=60)]
Line = Annotated[str, _up_to(300), StringConstraints(min_length=1, max_length=300)]
Sentence = Annotated[str, _up_to(400), StringConstraints(min_length=1, max_length=400)]
OptionalLine = Annotated[str, BeforeValidator(_nothing), _up_to(300), StringConstraints(max_length=300)]
Passage = Annotated[str, _up_to(1500), StringConstraints(min_length=1, max_length=1500)]
BRIEF = {300: 100, 400: 160, 1500: 300}  # the greatest lengths again, where a call asks for brief texts


class FromModel(Frozen):
    """Base class of what a model writes. Ignores keys that we did not ask for."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @field_validator("*")
    @classmethod
    def _is_allowed(cls, value: Any, info: ValidationInfo) -> Any:
        """Rejects a value that the call does not allow in this field (see `Within`)."""
        if info.context and (allowed := info.context.allowed.get(info.field_name)):
            for item in value if isinstance(value, tuple) else (value,):
                if item not in allowed:
                    raise ValueError(f"{item!r} is none of {', '.join(map(repr, allowed))}")
        return value


class Prose(RootModel[Annotated[str, StringConstraints(min_length=1)]]):
    """Free text that a model writes. Subclasses add validators. It is asked for without a schema."""

    @classmethod
    def so_far(cls, text: str) -> str:
        """The part of an unfinished text that will be part of the reply, whatever follows."""
        return text


class AsWritten(Prose):
    """Whatever a model writes, even nothing."""

    root: str


@dataclass(frozen=True)
class Within(Generic[T]):
    """A reply class, and the values that one call allows in its fields, such as the names of a cast.

    A list holds each allowed value at most once. The class is a FromModel, which checks the values. `brief` asks for
    shorter texts: a line of 100 characters in place of 300, a passage of 300 in place of 1,500.
    """

    reply: type[T]
    allowed: Allowed = field(default_factory=dict)
    brief: bool = False


Wanted: TypeAlias = type[T] | Within[T]


def class_of(wanted: Wanted[T]) -> type[T]:
    """The class that a reply is made into."""
    return wanted.reply if isinstance(wanted, Within) else wanted


def is_text(wanted: Wanted[Any]) -> bool:
    """Whether the model writes the reply as plain text, not as a JSON object."""
    return issubclass(class_of(wanted), str | Prose)


def parse(text: str, wanted: Wanted[T]) -> T:
    """A model's text as a reply of the wanted type.

    Raises ValueError if it is not one. The message is short and plain enough to show to the model.
    """
    text, reply = clean(text).strip(), class_of(wanted)
    if not text and reply is not AsWritten:
        raise ValueError("the reply is empty")
    bounds = wanted if isinstance(wanted, Within) else None
    try:
        if issubclass(reply, BaseModel):
            return reply.model_validate(text if is_text(reply) else _object(text), context=bounds)
        return reply(text)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'the reply'}: {fault['msg']}" for fault in error.errors()[:5]]
        raise ValueError("; ".join(faults)) from None


def _object(text: str) -> Any:
    """The JSON object in `text`: the whole text, the content of a code fence, or what follows the first brace."""
    for candidate in _candidates(text):
        try:
            value, _ = _DECODER.raw_decode(candidate.strip())
            if isinstance(value, dict):
                return _cleaned(value) if "\\u" in candidate else value  # escapes can spell unclean characters
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
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    return value
