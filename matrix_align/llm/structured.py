"""Typed replies: a reply type's JSON schema on the way out, and a model's text made that type on the way in.

Knows no HTTP. A reply type is `str`, a `Prose` class (free text that must pass a check) or a pydantic class.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, RootModel, StringConstraints, ValidationError

from ..types import Frozen, clean, shorten

T = TypeVar("T", bound="str | BaseModel")

_THINK = re.compile(r"\s*<think>(.*?)(?:</think>|\Z)", re.DOTALL)
# No \s* beside a line's end: on endless line breaks, which small models write, that takes quadratic time.
_THINK_END = re.compile(r"\A(.*?)^[ \t]*</think>[ \t\r]*$", re.DOTALL | re.MULTILINE)
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


class Prose(RootModel[Annotated[str, StringConstraints(min_length=1)]]):
    """Free text a model writes, with validators of its own; asked for without a schema."""


class AsWritten(Prose):
    """What a model writes, whatever it is: an answer that ends before it has begun is one too."""

    root: str


def is_text(reply: type[Any]) -> bool:
    """Whether the reply is written as plain text rather than as a JSON object."""
    return issubclass(reply, str | Prose)


def split_reasoning(content: str) -> tuple[str, str]:
    """(reasoning, answer) of what a reasoning model wrote into one text.

    Takes `<think>…</think>` at the start, a `<think>` that was never closed (all of it reasoning: the reply was cut),
    and a lone `</think>` line, which models write whose chat template has opened the tag already.
    """
    found = _THINK.match(content) or _THINK_END.match(content)
    if not found:
        return "", content.strip()
    return found.group(1).strip(), content[found.end() :].strip()


@lru_cache(maxsize=512)
def schema_of(reply: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a pydantic reply class, in the form structured output wants it: objects closed, no titles."""
    schema: dict[str, Any] = _tidy(reply.model_json_schema())
    return schema


@lru_cache(maxsize=512)
def plain_schema_of(reply: type[BaseModel]) -> dict[str, Any]:
    """The same without the limits (lengths, numbers of items) that some servers refuse in a schema."""
    schema: dict[str, Any] = _without(schema_of(reply), {"minLength", "maxLength", "minItems", "maxItems"})
    return schema


def _tidy(node: Any) -> Any:
    """A node of a schema, its objects closed, without titles, docstrings and defaults: these are for people."""
    if isinstance(node, list):
        return [_tidy(each) for each in node]
    if not isinstance(node, dict):
        return node
    tidy: dict[str, Any] = {}
    for key, each in node.items():
        if key in ("properties", "$defs"):  # names of ours, not words of JSON Schema
            tidy[key] = {name: _tidy(inner) for name, inner in each.items()}
        elif key not in ("title", "description", "default"):
            tidy[key] = _tidy(each)
    if "properties" in tidy:
        tidy["required"] = list(tidy["properties"])
        tidy["additionalProperties"] = False
    return tidy


def _without(node: Any, keys: set[str]) -> Any:
    if isinstance(node, list):
        return [_without(each, keys) for each in node]
    if isinstance(node, dict):
        return {key: _without(each, keys) for key, each in node.items() if key not in keys}
    return node


def instruction(reply: type[BaseModel]) -> str:
    """What to say to a model whose server takes no schema."""
    return f"Reply with one JSON object of this JSON schema, and nothing else:\n{json.dumps(schema_of(reply))}"


def parse(text: str, reply: type[T]) -> T:
    """A model's answer as `reply`.

    Raises ValueError, with a message short and plain enough to be shown to the model, where it is not one.
    """
    text = clean(text).strip()
    if not text and reply is not AsWritten:
        raise ValueError("the reply is empty")
    try:
        if issubclass(reply, BaseModel):
            return reply.model_validate(text if is_text(reply) else _object(text))
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
