"""The frozen objects that flow between the stages, and nothing that acts.

Knows no model, prompt, network or file. Names are the paper's (Pang et al., ICML 2024): a scene is played
by the ego and other roles, people and objects alike, under a modulator; numbered events become a critique.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

QUESTION_LIMIT = 64_000  # characters: longer ones are files, not questions


_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]+")


def clean(text: str) -> str:
    """`text` as databases, terminals and JSON writers take it: no control characters, lone surrogates as U+FFFD."""
    if text.isprintable():  # most texts, and a tenth of the time
        return text
    text = _CONTROLS.sub("", text)
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shorten(text: str, limit: int) -> str:
    """`text` on one line and at most `limit` characters long; a cut ends in '…', at a word where there is one."""
    line = " ".join(text.split())
    if len(line) < limit or (len(line) == limit and not line[-1].isalnum()):
        return line  # one that fills the limit in the middle of a word was cut there, by a server that holds to it
    head = line[: limit - 1]
    return (head.rsplit(" ", 1)[0] if " " in head[limit // 2 :] else head) + "…"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Frozen):
    """One turn of a chat, in the form every OpenAI-compatible server takes."""

    role: Literal["system", "user", "assistant"]
    content: str

    @field_validator("content")
    @classmethod
    def _clean(cls, content: str) -> str:
        return clean(content)


class Question(Frozen):
    """What a user asks. `earlier` holds the turns before it, `system` the system prompt they were asked under."""

    text: str
    earlier: tuple[Message, ...] = ()
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
        """How the conversation begins, written plainly: what many a data set shares between its rows."""
        first = next(message.content for message in self.messages() if message.role == "user")
        return " ".join(first.casefold().split())

    def messages(self) -> list[Message]:
        """The chat a model answers when it is asked this question."""
        system = [Message(role="system", content=self.system)] if self.system else []
        return [*system, *self.earlier, Message(role="user", content=self.text)]


class Settings(Frozen):
    """What, beside the question and the model, decides how a scene goes. Paper: 5 roles, 5 steps."""

    roles: int = Field(5, ge=1, le=20)
    steps: int = Field(5, ge=1, le=20)
    seed: int = Field(0, ge=0, lt=2**63)
    temperature: float = Field(0.7, ge=0, le=2)
    max_tokens: int = Field(1024, ge=16, le=65_536, description="longest answer, in tokens")
    memory: int = Field(6000, ge=0, le=1_000_000, description="characters of past events that a prompt holds")


class Sampling(Frozen):
    """How one reply is drawn."""

    temperature: float
    max_tokens: int
    seed: int


class Usage(Frozen):
    """What one call took: tokens of the prompt, those of them the server had cached, tokens generated; seconds.

    `requests` counts HTTP requests that were answered: more than one where a reply had to be asked for again.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    requests: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})


class Call(Frozen):
    """One call of the scene: what for, by whom, and how many calls had to stand before it (`depth`).

    `key` finds the call in the store; None where nothing recorded it. `recorded`: it came from there.
    `cut`: the text ended at its longest, so it may lack its end.
    """

    kind: str
    who: str
    step: int
    depth: int
    usage: Usage
    key: str | None = None
    recorded: bool = False
    cut: bool = False
