"""A model with the record in front: a completed call is committed before it is used, and never paid for twice.

A call's key is a hash of what decides its reply: model name and digest, messages, form of the reply, sampling. Each
call of a scene has its own seed (caller.py). So no two calls of one scene share a key, but a scene that is played again
finds all of its calls. The address, time-outs and retries are not part of the key. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from ..errors import BadReply, ContextOverflow, InputError, ModelError
from ..store import Store
from ..types import Message, Sampling, Usage, clean
from .asker import REPLIES
from .model import Model, Reply
from .schema import schema_of
from .structured import Wanted, Within, class_of, is_text, parse

T = TypeVar("T", bound="str | BaseModel")


@dataclass
class _Request:
    """One request under way, and how many callers wait for it."""

    task: asyncio.Task[Any]
    callers: int = 0


class Recorded:
    """`model` with a record in front. A call that was completed before is read; any other is asked and written.

    Two equal calls at the same time make one request. Cancelling one of the callers leaves it; cancelling all of them
    cancels it. A call whose replies were unusable is repeated with another seed. `changed` holds replies that a person
    put in place of the recorded ones, by the keys of the calls.
    """

    def __init__(self, model: Model, store: Store, changed: Mapping[str, str] | None = None) -> None:
        self._model = model
        self._changed = changed or {}
        self._store = store
        self._requests: dict[str, _Request] = {}  # by key

    @property
    def name(self) -> str:
        """The model's own name. An endpoint may learn it only when it opens."""
        return clean(self._model.name)

    @property
    def digest(self) -> str:
        return self._model.digest

    def through(self, model: Model) -> Recorded:
        """The same record, and the same requests under way, with another way to the same model."""
        other = Recorded(model, self._store, self._changed)
        other._requests = self._requests
        return other

    def changing(self, changed: Mapping[str, str]) -> Recorded:
        """The same model and record, with other replies to these calls. What a changed reply leads to is asked anew."""
        other = Recorded(self._model, self._store, changed)
        other._requests = self._requests
        return other

    def replaying(self, changed: Mapping[str, str]) -> Recorded:
        """The record alone, with other replies to these calls. A call that it does not have is a BadReply."""
        return _Replayed(self._model, self._store, changed)

    async def ask(self, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling) -> Reply[T]:
        request = _request(messages, reply, sampling)
        key = hashlib.sha256(f"{self.name}\n{self.digest}\n{request}".encode()).hexdigest()
        while same := self._under_way(key):  # wait for that, then look again
            await self._wait(key, same)
        if done := self._recall(key, reply):
            return done
        if why := self._store.overflowed(key):  # so that a scene played again shortens the same prompts
            raise ContextOverflow(why)
        task = asyncio.create_task(self._ask(key, request, messages, reply, sampling))
        self._requests[key] = asked = _Request(task)
        await self._wait(key, asked)
        return await task

    def _under_way(self, key: str) -> _Request | None:
        """The request of this key, unless it was left behind by an event loop that has ended."""
        found = self._requests.get(key)
        return found if found and found.task.get_loop() is asyncio.get_running_loop() else None

    async def _wait(self, key: str, request: _Request) -> None:
        """Waits until the request has ended in any way. If the last of its callers is cancelled, so is the request."""
        request.callers += 1
        try:
            await asyncio.wait([request.task])
        finally:
            request.callers -= 1
            if request.task.done() or not request.callers:
                if self._requests.get(key) is request:
                    del self._requests[key]
                if request.task.cancel():
                    await asyncio.wait([request.task])
                if not request.task.cancelled():
                    request.task.exception()  # marks it as seen; perhaps no caller is left to raise it

    def _recall(self, key: str, reply: Wanted[T]) -> Reply[T] | None:
        if key in self._changed:
            text = self._changed[key]
            try:
                return Reply(parse(text, reply), text, "", Usage(), key, recorded=True)
            except ValueError as error:
                raise InputError(f"the changed reply does not have the form of this call's replies: {error}") from None
        if done := self._store.call(key):
            text, reasoning, cut, usage = done
            try:
                return Reply(parse(text, reply), text, reasoning, usage, key, recorded=True, cut=cut)
            except ValueError:  # an older version accepted this reply; ask again
                self._store.forget(key)
        return None

    async def _ask(
        self, key: str, request: str, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling
    ) -> Reply[T]:
        if failed := self._store.unusable_replies()[key]:  # the same seed would give the same reply
            sampling = sampling.model_copy(update={"seed": (sampling.seed + failed * REPLIES) % 2**31})
        try:
            fresh = await self._model.ask(messages, reply, sampling)
        except ModelError as error:
            self._store.add_failure(key, self.name, request, error)
            raise
        content = (fresh.text, fresh.reasoning, fresh.cut, fresh.usage)
        new = await self._store.add_call(key, self.name, request, *content)
        if not new and (theirs := self._recall(key, reply)):
            return theirs
        return replace(fresh, key=key)


class _Replayed(Recorded):
    """A record that asks nobody."""

    async def _ask(self, *_: Any) -> Reply[Any]:
        raise BadReply("the record does not have this call")


def _request(messages: Sequence[Message], reply: Wanted[Any], sampling: Sampling) -> str:
    """The call in canonical form: two calls of the same form have the same reply."""
    asked = {
        "messages": messages,
        "form": _form(class_of(reply)),  # type: ignore[arg-type]
        "sampling": sampling,
    }
    if isinstance(reply, Within):
        asked |= {"allowed": reply.allowed, "brief": reply.brief}
    return to_json(asked).decode()


@cache
def _form(reply: type[Any]) -> str:
    """A short name for the form of a reply: 'text', or its class and its schema's hash."""
    if is_text(reply):
        return "text"
    return f"{reply.__name__} sha256:{hashlib.sha256(to_json(schema_of(reply))).hexdigest()[:16]}"
