"""The frozen objects that all parts share: a message, a question, a call to a model, an answer.

Knows no model, method, network or file.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, computed_field, field_validator

QUESTION_LIMIT = 64_000  # characters: longer ones are files, not questions


_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]+")


def clean(text: str) -> str:
    """`text` for databases, terminals and JSON: without control characters, and with U+FFFD for lone surrogates."""
    if text.isprintable() or text.replace("\n", "").isprintable():  # true of most texts, and ten times as fast
        return text
    text = _CONTROLS.sub("", text)
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shorten(text: str, limit: int) -> str:
    """`text` on one line, at most `limit` characters long. A cut text ends in '…', after a whole word if possible.

    If `limit` is 0, nothing is left.
    """
    line = " ".join(text.split())
    if limit < 1:
        return ""
    if len(line) < limit or (len(line) == limit and not line[-1].isalnum()):
        return line  # a text of exactly `limit` that ends within a word was cut by a server that enforces the limit
    head = line[: limit - 1]
    return (head.rsplit(" ", 1)[0] if " " in head[limit // 2 :] else head) + "…"


def counted(number: int, noun: str) -> str:
    """'1 call', '2,000 calls'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Frozen):
    """One turn of a chat, in the form that every OpenAI-compatible server accepts."""

    role: Literal["system", "user", "assistant"]
    content: str

    @field_validator("content")
    @classmethod
    def _clean(cls, content: str) -> str:
        return clean(content)


class Question(Frozen):
    """What a user asks. `history` holds the turns before it, `system` the system prompt of the conversation."""

    text: str
    history: tuple[Message, ...] = ()
    system: str | None = None

    @field_validator("system")
    @classmethod
    def _clean(cls, system: str | None) -> str | None:
        return (clean(system) or None) if system else None

    @field_validator("text")
    @classmethod
    def _usable(cls, text: str) -> str:
        text = clean(text).strip()
        if not text:
            raise ValueError("the question is empty; write what a user would ask")
        if len(text) > QUESTION_LIMIT:
            raise ValueError(f"the question has {len(text):,} characters; at most {QUESTION_LIMIT:,} are taken")
        return text

    def opening(self) -> str:
        """The conversation's first question in plain form. Rows of many data sets share it."""
        first = next(message.content for message in self.messages() if message.role == "user")
        return " ".join(first.casefold().split())

    def messages(self) -> list[Message]:
        """The question as the chat that a model answers."""
        system = [Message(role="system", content=self.system)] if self.system else []
        return [*system, *self.history, Message(role="user", content=self.text)]


class Sampling(Frozen):
    """How replies are drawn. `max_tokens` limits an answer. Each call derives its own seed from `seed`."""

    temperature: float = Field(0.7, ge=0, le=2)
    max_tokens: int = Field(1024, ge=1, le=10_000_000)
    seed: int = Field(0, ge=0, lt=2**63)


class Usage(Frozen):
    """What a call cost: tokens of the prompt, how many of these the server had cached, tokens generated, seconds.

    `requests` counts the HTTP requests that were answered. It exceeds 1 if a reply had to be asked for again.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    requests: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            seconds=self.seconds + other.seconds,
            requests=self.requests + other.requests,
        )


Cut = Literal["", "length", "filter"]  # why a text stopped early; empty if it is complete


class Call(Frozen):
    """One call behind an answer. `depth` is its place in the longest chain of calls that led to it.

    `who` is empty and `step` is 0 if the method has no roles or steps. `key` finds the call in the record; it is None
    if the call was not recorded. `recorded` is True if the reply came from the record. `examples` is the number of
    messages after the first that were examples or hints of ours and no part of the task; an answer's are not counted.
    """

    kind: str
    who: str
    step: int
    depth: int
    usage: Usage
    key: str | None = None
    recorded: bool = False
    cut: Cut = ""
    examples: int = 0


class Draft(Frozen):
    """What a method has made of a question so far. Parts that are not there yet are None or empty.

    `text` is the method's answer. `initial` is an answer that it is preferred to: the model's own first one if the
    method starts from it, the worse one if the method makes pairs. `ending` says in the method's words how it ended.
    `scene` is matrix's: a `simulation.types.Scene`, or its JSON if the answer was read from a record.
    """

    initial: str | None = None
    initial_cut: Cut = ""
    text: str | None = None
    text_cut: Cut = ""
    ending: str = ""
    scene: Any = None


class Answer(Draft):
    """A draft with what decided it (`method` to `sampling`) and what it cost. `error` says why it is incomplete.

    `settings` are the method's own. `digest` identifies the model's weights, if that is known.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")  # its own JSON contains the computed fields

    id: str
    method: str
    model: str
    digest: str
    question: Question
    settings: dict[str, JsonValue]
    sampling: Sampling
    calls: tuple[Call, ...] = ()
    error: str | None = None

    def evolve(self, **changes: Any) -> Answer:
        """The same answer with these parts set."""
        return self.model_copy(update=changes)

    @property
    def state(self) -> str:
        """'failed', 'unfinished', or how the method ended."""
        return "failed" if self.error else "unfinished" if self.text is None else self.ending or "done"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def usage(self) -> Usage:
        """What all calls cost together. `seconds` is their sum, which exceeds the time that passed."""
        return sum((call.usage for call in self.calls), start=Usage())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def depth(self) -> int:
        """The length of the longest chain of calls that followed one another."""
        return max((call.depth for call in self.calls), default=0)
