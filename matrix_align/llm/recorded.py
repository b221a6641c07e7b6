"""A model with the record in front: a completed call is committed before it is used, and never paid for twice.

A call is known by what decides its reply: model name and digest, messages, form of the reply, sampling. Each call of a
scene draws from its own seed (caller.py), so two calls of one scene never share a key, while a scene that
is played again finds all of its calls. Address, time-outs and retries are no part of it. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from ..errors import ContextOverflow, ModelError
from ..store import Store
from ..types import Message, Sampling, clean
from .endpoint import REPLIES
from .model import Model, Reply
from .structured import is_text, parse, schema_of

T = TypeVar("T", bound="str | BaseModel")


class Recorded:
    """`model` with a record in front: a call that was completed before is read, any other is asked and written.

    The same call made twice at once is asked once. One that has failed for its replies is drawn from another seed.
    """

    def __init__(self, model: Model, store: Store) -> None:
        self._model = model
        self._store = store
        self._asking: dict[str, asyncio.Future[None]] = {}

    @property
    def name(self) -> str:
        """The model's own, which an endpoint may learn only when it is opened."""
        return clean(self._model.name)

    @property
    def digest(self) -> str:
        return self._model.digest

    async def ask(self, messages: Sequence[Message], reply: type[T], sampling: Sampling) -> Reply[T]:
        request = _request(messages, reply, sampling)
        key = hashlib.sha256(f"{self.name}\n{self.digest}\n{request}".encode()).hexdigest()
        while same := self._asking.get(key):  # asked already: wait for that, then look again
            await asyncio.wait([same])
        if done := self._recall(key, reply):
            return done
        if said := self._store.overflowed(key):  # so that a scene played again takes the same way round it
            raise ContextOverflow(said)
        self._asking[key] = asked = asyncio.get_running_loop().create_future()
        try:
            return await self._ask(key, request, messages, reply, sampling)
        finally:
            del self._asking[key]
            asked.cancel()

    def _recall(self, key: str, reply: type[T]) -> Reply[T] | None:
        if done := self._store.call(key):
            text, reasoning, cut, usage = done
            try:
                return Reply(parse(text, reply), text, reasoning, usage, key, recorded=True, cut=cut)
            except ValueError:  # written when a reply of this form was still taken: ask again
                self._store.forget(key)
        return None

    async def _ask(
        self, key: str, request: str, messages: Sequence[Message], reply: type[T], sampling: Sampling
    ) -> Reply[T]:
        if failed := self._store.unusable_replies()[key]:  # the same seed would bring the same again
            sampling = sampling.model_copy(update={"seed": (sampling.seed + failed * REPLIES) % 2**31})
        try:
            fresh = await self._model.ask(messages, reply, sampling)
        except ModelError as error:
            self._store.add_failure(key, self.name, request, error)
            raise
        said = (fresh.text, fresh.reasoning, fresh.cut, fresh.usage)
        new = await self._store.add_call(key, self.name, request, *said)
        if not new and (theirs := self._recall(key, reply)):
            return theirs
        return replace(fresh, key=key)


def _request(messages: Sequence[Message], reply: type[Any], sampling: Sampling) -> str:
    """The canonical text of what is asked; two calls of one text have one reply."""
    form = _form(reply)  # type: ignore[arg-type]
    return to_json({"messages": messages, "form": form, "sampling": sampling}).decode()


@lru_cache(maxsize=512)
def _form(reply: type[Any]) -> str:
    """A short name for the form of a reply: 'text', or its class and its schema's hash."""
    if is_text(reply):
        return "text"
    schema = to_json(schema_of(reply))  # type: ignore[arg-type]
    return f"{reply.__name__} sha256:{hashlib.sha256(schema).hexdigest()[:16]}"
