"""The one seam: `Model`, messages in and a typed reply out.

Knows no server. `Scripted` is a public fake for your own tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from ..errors import BadReply
from ..types import Cut, Message, Sampling, Usage
from .structured import Wanted, class_of, parse

T = TypeVar("T", bound="str | BaseModel")


@dataclass(frozen=True)
class Reply(Generic[T]):
    """One typed reply: the value, the text it was made from, the model's reasoning if it showed any, and the cost.

    `key` finds the call in the record, if it was recorded. `recorded` is True if the reply came from there. `cut` says
    why the text stopped early: max_tokens ("length") or a content filter ("filter").
    """

    value: T
    text: str
    reasoning: str
    usage: Usage
    key: str | None = None
    recorded: bool = False
    cut: Cut = ""


class Model(Protocol):
    """A language model. Models with the same `name` and `digest` have the same weights."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    async def ask(self, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling) -> Reply[T]:
        """One reply to `messages`, of type `reply`: `str`, a pydantic class, or one `Within` allowed values.

        Raises ModelError.
        """
        ...


class Scripted:
    """A model that follows a script: each `ask` returns the next of `replies`.

    A reply is a text, an object (sent as JSON), an error to raise, or a function of the messages that returns one of
    these. `asked` keeps what was asked, as (messages, reply type, sampling).
    """

    def __init__(self, *replies: Any, name: str = "scripted", digest: str = "") -> None:
        self.name = name
        self.digest = digest
        self.asked: list[tuple[tuple[Message, ...], Wanted[Any], Sampling]] = []
        self._replies: list[Any] = list(replies)

    def enqueue(self, *replies: Any) -> None:
        self._replies.extend(replies)

    async def ask(self, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling) -> Reply[T]:
        self.asked.append((tuple(messages), reply, sampling))
        if not self._replies:
            raise BadReply(f"the script has ended, and {class_of(reply).__name__} was asked for; enqueue another reply")
        said = self._replies.pop(0)
        if callable(said):
            said = said(messages)
        if isinstance(said, Exception):
            raise said
        text = said if isinstance(said, str) else json.dumps(said)
        try:
            return Reply(parse(text, reply), text, "", Usage(requests=1))
        except ValueError as error:
            raise BadReply(f"the scripted reply does not fit {class_of(reply).__name__}: {error}", text) from None
