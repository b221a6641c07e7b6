"""A model that asks again for a reply that can't be used.

Owns when a reply is asked for again, with how many tokens, and what the model is told of the fault. A subclass sends
the requests: `Endpoint` over HTTP, the adapter in `evals/inspect/` through Inspect AI. Knows no connection.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from ..errors import BadReply, ContextOverflow, ModelError, Refused
from ..plain import plain
from ..types import Message, Sampling, Usage, clean, shorten
from .completion import Completion
from .dialect import Chat, Dialect
from .model import Reply
from .structured import Wanted, is_text, parse

if TYPE_CHECKING:
    from .writing import Writing

T = TypeVar("T", bound="str | BaseModel")

REPLIES = 3  # most attempts at one reply, the first included
ROOM = 4  # factor by which the token limit grows after a reply that was too long for it


class Asker(ABC):
    """A `Model` whose `_complete` makes one attempt. `where` names it in warnings."""

    def __init__(self, name: str, digest: str, where: str) -> None:
        self.name = clean(name)  # a command line can hold characters that JSON can't
        self.digest = clean(digest)
        self._dialect = Dialect(where)
        # The factor by which this model needs a higher token limit: for a typed reply (False), for a text (True)
        self._roomier = {False: 1, True: 1}

    async def ask(
        self, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling, writing: Writing | None = None
    ) -> Reply[T]:
        """One reply of the type `reply`, after at most REPLIES attempts. `writing` shows a text while it is written.

        A reply that was cut off is asked for again with a higher token limit. So is an answer whose reasoning used the
        tokens up. Any other unusable reply is sent back to the model with the fault.
        """
        asked = chat = [{"role": message.role, "content": message.content} for message in messages]
        began, usage = time.monotonic(), Usage()
        room = sampling.max_tokens * self._roomier[is_text(reply)]
        fault, text, short = "", "", None
        for turn in range(REPLIES):
            try:
                completion = await self._complete(chat, reply, sampling, room, turn, writing)
            except ModelError as error:
                mendable = isinstance(error, ContextOverflow) or (isinstance(error, Refused) and error.mendable)
                if not mendable or (room == sampling.max_tokens and chat is asked):
                    error.usage = usage
                    raise
                if turn:  # only the higher limit, or the correction, did not fit
                    break
                room = sampling.max_tokens  # the higher limit fitted other prompts, not this one
                continue
            usage = usage + completion.usage if turn else completion.usage
            text = completion.text or completion.reasoning
            try:
                value, written = _value(completion, reply)
            except ValueError as error:
                fault = f"cut off after {room} tokens: {error}" if completion.ended == "length" else str(error)
                if completion.ended == "length" and (not is_text(reply) or not completion.answered):
                    room *= ROOM
                elif completion.ended != "filter":  # only the newest bad reply, to keep the prompt short
                    chat = [
                        *asked,
                        {"role": "assistant", "content": shorten(completion.text, 2000) or "(nothing)"},
                        {"role": "user", "content": f"That can't be used: {shorten(fault, 400)}. Reply again, whole."},
                    ]
                continue
            reasoning = completion.reasoning if written is completion.text else ""
            answer = Reply(value, written, reasoning, _timed(usage, began), cut=completion.cut)
            if completion.ended == "length" and reasoning and is_text(reply):
                short, room = answer, room * ROOM
                continue
            if room > sampling.max_tokens:  # a model that reasons at length does so every time
                self._roomier[is_text(reply)] = min(room // sampling.max_tokens, ROOM)
            return answer
        if short:
            return replace(short, usage=_timed(usage, began))
        bad = BadReply(
            f"{self.name}: no usable reply in {turn + 1} attempts; ask again, or use a larger model; "
            f"the last fault: {shorten(plain(fault), 300)}",
            text,
        )
        bad.usage = _timed(usage, began)
        raise bad

    @abstractmethod
    async def _complete(
        self, chat: Chat, reply: Wanted[Any], sampling: Sampling, room: int, turn: int, writing: Writing | None
    ) -> Completion:
        """The completion of one chat, of at most `room` tokens. `turn` counts the attempts. Raises ModelError.

        A model that can't be read along leaves `writing` alone.
        """


def _value(completion: Completion, reply: Wanted[T]) -> tuple[T, str]:
    """The value of a completion, and the text it was made from. Raises ValueError if it is unusable."""
    text = completion.text
    if completion.stray:
        raise ValueError(f"the reply holds {completion.stray}, so it is not clear which part is the answer")
    if completion.ended == "filter" and not (text and is_text(reply)):
        raise ValueError("the server's content filter has ended the reply")
    if not text and not is_text(reply) and completion.reasoning.startswith("{"):
        text = completion.reasoning  # some servers mistake a whole JSON reply for reasoning
    elif not text and completion.ended != "stop":  # an empty reply counts only if the model chose to stop
        raise ValueError("the reply is empty")
    return parse(text, reply), text


def _timed(usage: Usage, began: float) -> Usage:
    return usage.model_copy(update={"seconds": time.monotonic() - began})
