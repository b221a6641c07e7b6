"""A text while a model writes it: how much of it is certain, so that it can be shown before it is whole.

What is shown can't be taken back. So whatever could still turn out to be reasoning, a mark, or words that a check of
the reply rejects is held back until it is clear. Knows no connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from ..types import Message, Sampling, clean
from .asker import Asker
from .model import Reply
from .reasoning import unopened
from .structured import Prose, Wanted, class_of, is_text

T = TypeVar("T", bound="str | BaseModel")


class Writing:
    """`text` is what is certain so far, and only grows. `grown` is set each time it has.

    If the model begins anew, after a broken connection or an unusable reply, `text` stays as it is until the new text
    has it as its beginning. So whoever showed `text` must compare it with the reply in the end.
    """

    def __init__(self, grown: asyncio.Event) -> None:
        self.text = ""
        self.grown = grown

    def read(self, text: str, wanted: Wanted[Any], reasons: bool) -> None:
        """Takes what the model has written so far. `reasons` says that its texts begin with reasoning."""
        if "\ud800" <= text[-1:] <= "\udbff":  # the other half of the character is still to come
            text = text[:-1]
        certain = unopened(clean(text), reasons)
        kind = class_of(wanted)
        if issubclass(kind, Prose):
            certain = kind.so_far(certain)
        if len(certain) > len(self.text) and certain.startswith(self.text):
            self.text = certain
            self.grown.set()


class Aloud:
    """`model`, whose texts can be read in `writing` while it writes them. Its typed replies can't."""

    def __init__(self, model: Asker, writing: Writing) -> None:
        self._model = model
        self._writing = writing

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def digest(self) -> str:
        return self._model.digest

    async def ask(self, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling) -> Reply[T]:
        return await self._model.ask(messages, reply, sampling, self._writing if is_text(reply) else None)
