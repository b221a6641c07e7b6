"""Makes all calls of one answer and keeps account of them. Every method asks its model through this.

Owns the order of calls (one, or several at the same time), their seeds, and what happens when a prompt is too long.
Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from ..errors import ContextOverflow, ModelError
from ..types import Call, Message, Sampling
from .model import Model, Reply
from .structured import Wanted

T = TypeVar("T", bound="str | BaseModel")
U = TypeVar("U", bound="str | BaseModel")

# The share of its memory that a prompt contains: all of it, and less after an overflow of the context.
MEMORY_SHARES = (1, 1 / 3, 1 / 10, 0)


@dataclass(frozen=True)
class Request(Generic[T]):
    """One call to make: its kind, the type of its reply, for whom, and at which step (0 if there are no steps).

    `messages` returns the prompt for a limit on its memory, in characters. `memory` is the first limit. `max_tokens`
    limits the reply; None means the limit of the caller's sampling. `examples` is the number of messages after the
    first that are examples, the same in every scene. `answers` is True if the reply, as it is, becomes the answer to
    the user: it may be shown while it is written.
    """

    kind: str
    reply: Wanted[T]
    messages: Callable[[int], list[Message]]
    max_tokens: int | None = None
    who: str = ""
    step: int = 0
    memory: int = 0
    examples: int = 0
    answers: bool = False


def _length(messages: list[Message]) -> int:
    return sum(len(message.content) for message in messages)


class Caller:
    """Makes the calls of one answer to `model`. `calls` lists those that were answered, with their depth.

    `seed` is the answer's seed, for a method that draws something itself. Each call has a seed of its own. `max_tokens`
    limits an answer, for a method that writes one in several calls. `writer` is the same model, asked in place of
    `model` for what becomes the answer; it shows what it writes.
    """

    def __init__(self, model: Model, sampling: Sampling, writer: Model | None = None) -> None:
        self.calls: list[Call] = []
        self.seed = sampling.seed
        self.max_tokens = sampling.max_tokens
        self._model = model
        self._writer = writer or model
        self._sampling = sampling
        self._depth = 0
        self._asked: Counter[tuple[str, str, int]] = Counter()

    async def ask(self, request: Request[T]) -> T:
        """The reply to one request, made after all earlier ones."""
        return (await self.all([request]))[0]

    async def all(self, requests: Sequence[Request[T]]) -> list[T]:
        """The replies to requests made at the same time, in their order.

        If one fails, the others are still awaited, so that every paid call is recorded. Then the error is raised. If
        several fail, an error that is not the model's goes first, because it ends more than this answer.
        """
        self._depth += bool(requests)
        done = await asyncio.gather(*(self._ask(request) for request in requests), return_exceptions=True)
        replies, errors = [], []
        for request, outcome in zip(requests, done, strict=True):
            if isinstance(outcome, BaseException):
                errors.append(outcome)
            else:
                self.calls.append(self._call(request, outcome))
                replies.append(outcome.value)
        if errors:
            raise next((error for error in errors if not isinstance(error, ModelError)), errors[0])
        return replies

    async def both(self, one: Request[T], other: Request[U]) -> tuple[T, U]:
        """The replies to two requests of different types, made at the same time."""
        requests: list[Request[Any]] = [one, other]
        replies: list[Any] = await self.all(requests)
        return replies[0], replies[1]

    async def _ask(self, request: Request[T]) -> Reply[T]:
        """The reply. If the context overflows, the call is made again with less memory in its prompt."""
        sampling = self._sampling_of(request)
        limits = [int(request.memory * share) for share in MEMORY_SHARES]
        messages = request.messages(limits[0])
        model = self._writer if request.answers else self._model
        while True:
            try:
                return await model.ask(messages, request.reply, sampling)
            except ContextOverflow:
                prompts = (request.messages(limit) for limit in limits)
                shorter = next((prompt for prompt in prompts if _length(prompt) < _length(messages)), None)
                if shorter is None:  # there is no memory left to shorten
                    raise
                messages = shorter

    def _call(self, request: Request[T], reply: Reply[T]) -> Call:
        return Call(
            kind=request.kind,
            who=request.who,
            step=request.step,
            depth=self._depth,
            usage=reply.usage,
            key=reply.key,
            recorded=reply.recorded,
            cut=reply.cut,
            examples=request.examples,
        )

    def _sampling_of(self, request: Request[Any]) -> Sampling:
        """The call's own seed, so that the order in which replies arrive changes nothing."""
        site = (request.kind, request.who, request.step)
        self._asked[site] += 1
        text = repr((self._sampling.seed, *site, self._asked[site]))
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1
        longest = request.max_tokens or self._sampling.max_tokens
        return Sampling(temperature=self._sampling.temperature, max_tokens=longest, seed=seed)
