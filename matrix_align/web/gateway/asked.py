"""What a request for a method's answer asks for: the question, the method's setup, and how to send the answer.

Owns the fields of the request: which a method honours, which only the model alone can honour, and our own options under
`matrix_align`. Knows no HTTP and no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ...methods import METHODS, Setup
from ...plain import fault_in, field_of, plain
from ...types import Frozen, Message, Question, Sampling, clean, shorten
from ..replies import Refusal

Simulate = Literal["always", "auto", "never"]

# Fields that a method's answer heeds. `n` may be 1.
HEEDED = {
    *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "seed"),
    *("stop", "n", "matrix_align", "response_format", "tools", "functions"),
}
# Fields that change no answer, so that nobody misses them.
HARMLESS = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"}


class Own(BaseModel):
    """Our options that are no setting of a method."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    method: str | None = None
    simulate: Simulate | None = None
    reasoning: bool = True
    seed: int | None = Field(None, ge=0, lt=2**63)


class Fields(BaseModel):
    """The fields of OpenAI's that a method heeds."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    seed: int | None = None
    stop: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=500)], ...],
        Field(max_length=4),  # OpenAI's limit; each piece of an answer is searched for all of them
        BeforeValidator(lambda given: [given] if isinstance(given, str) else given or ()),
    ] = ()


@dataclass(frozen=True)
class Asked:
    """One request for a method's answer. `ignored` are the fields that it has and no method heeds."""

    question: Question
    setup: Setup
    simulate: Simulate
    stream: bool
    reasoning: bool
    usage: bool
    stops: tuple[str, ...]
    ignored: tuple[str, ...]


def options_of(body: Mapping[str, Any]) -> Own:
    """Our own options. Raises Refusal for one whose value can't be used."""
    given = body.get("matrix_align")
    try:
        return Own.model_validate({} if given is None else given)
    except ValidationError as error:
        raise _unusable(error, "matrix_align") from None


def alone(body: Mapping[str, Any]) -> str:
    """What in the request only the model alone can honour; empty if a method can take all of it."""
    for field in ("tools", "functions", "audio", "prediction", "logprobs", "web_search_options"):
        if body.get(field):
            return field
    form = body.get("response_format")
    if isinstance(form, dict) and form.get("type", "text") != "text":
        return "response_format"
    if body.get("n") not in (None, 1):
        return "n"
    if body.get("modalities") not in (None, ["text"]):
        return "modalities"
    messages = body.get("messages")
    turns = [turn for turn in messages if isinstance(turn, dict)] if isinstance(messages, list) else []
    for turn in turns:
        if turn.get("role") in ("tool", "function") or turn.get("tool_calls") or turn.get("function_call"):
            return "tools"
        content = turn.get("content")
        if isinstance(content, list) and (kind := next(filter(None, map(_not_text, content)), "")):
            return kind
    if turns and turns[-1].get("role") == "assistant":
        return "a last message of the assistant's"
    return ""


def settings_of(own: Own, method: str, defaults: Mapping[str, Any]) -> Frozen:
    """The method's settings, with `defaults` for what our options leave open. Raises Refusal for an unknown option."""
    kind = METHODS[method].settings
    given = own.model_extra or {}
    if unknown := sorted(given.keys() - kind.model_fields.keys()):
        known = ", ".join([*Own.model_fields, *kind.model_fields])
        raise Refusal(
            400,
            f"matrix_align.{unknown[0]} is no option of the method {method}; it has: {known}",
            "unknown_option",
            f"matrix_align.{unknown[0]}",
        )
    try:
        return kind(**{name: value for name, value in defaults.items() if name in kind.model_fields} | given)
    except ValidationError as error:
        raise _unusable(error, "matrix_align") from None


def asked(body: Mapping[str, Any], own: Own, method: str, settings: Frozen, defaults: Mapping[str, Any]) -> Asked:
    """The request in `body`, with `defaults` for what it leaves open. Raises Refusal if a method can't use it."""
    try:
        fields = Fields.model_validate(body)
    except ValidationError as error:
        raise _unusable(error) from None
    wanted = {
        "temperature": fields.temperature,
        "max_tokens": fields.max_completion_tokens or fields.max_tokens,
        "seed": own.seed if own.seed is not None else fields.seed % 2**63 if fields.seed is not None else None,
    }
    drawn = {name: value for name, value in defaults.items() if name in wanted}
    try:
        sampling = Sampling(**drawn | {name: value for name, value in wanted.items() if value is not None})
    except ValidationError as error:
        raise _unusable(error) from None
    return Asked(
        question=question_of(body),
        setup=Setup(METHODS[method], settings, sampling),
        simulate=own.simulate or defaults.get("simulate", "always"),
        stream=bool(fields.stream),
        reasoning=own.reasoning,
        usage=bool((fields.stream_options or {}).get("include_usage")),
        stops=fields.stop,
        ignored=tuple(sorted(name for name, value in body.items() if value and name not in HEEDED | HARMLESS)),
    )


def question_of(body: Mapping[str, Any]) -> Question:
    """The chat as a question with its history and system prompt. Raises Refusal."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages must be a list with at least one message", param="messages")
    turns = []
    for place, message in enumerate(messages):
        given = message.get("role") if isinstance(message, dict) else None
        role = "system" if given == "developer" else given
        if role not in ("system", "user", "assistant"):
            what = f"is {shorten(str(given), 60)!r}" if given else "is missing"
            wanted = "wanted system, developer, user, assistant or tool"
            raise Refusal(400, f"messages[{place}].role {what}; {wanted}", param="messages")
        turns.append(Message(role=role, content=_text(message.get("content"), place)))
    first = next((place for place, turn in enumerate(turns) if turn.role != "system"), len(turns))
    if first == len(turns) or turns[-1].role != "user":
        raise Refusal(400, "the last message must be the user's", param="messages")
    system = "\n\n".join(turn.content for turn in turns[:first])
    try:
        return Question(text=turns[-1].content, history=tuple(turns[first:-1]), system=system or None)
    except ValidationError as error:
        raise Refusal(400, plain(f"messages: {error.errors()[0]['msg']}"), param="messages") from None


def _text(content: Any, place: int) -> str:
    """The text of a message: its content, or its text parts joined."""
    if content is None:
        return ""
    if isinstance(content, str):
        return clean(content)
    given = content if isinstance(content, list) else [None]
    parts = [part.get("text") if isinstance(part, dict) else None for part in given]
    if not all(isinstance(part, str) for part in parts):
        raise Refusal(400, f"messages[{place}].content is neither a text nor a list of parts", param="messages")
    return clean("\n".join(part for part in parts if part))


def _not_text(part: Any) -> str:
    """The kind of a content part, if it is no text."""
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) and kind != "text" else ""


def _unusable(error: ValidationError, within: str = "") -> Refusal:
    return Refusal(400, fault_in(error, within), param=field_of(error, within))
