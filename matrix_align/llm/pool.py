"""Servers that scenes are played on: how much each of them takes, what all of it costs, and when to stop.

A `Server` is a model that keeps account of itself; `Tally` is the account of all. Counting is all that happens on a
call's way; who wants to show or to judge the figures looks at them from outside. Knows no scene and no record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel

from ..errors import MatrixAlignError, ModelError
from ..types import Message, Sampling, Usage
from .endpoint import Endpoint
from .model import Reply
from .structured import Wanted

T = TypeVar("T", bound="str | BaseModel")

START = 8  # scenes at once on a server that nothing is known of yet
MOST = 512
SLOWER = 2.0  # times the fastest replies seen: then a server is full


class Stopped(MatrixAlignError):
    """The run is to end: no further call is made. Calls under way are still paid for, and so awaited."""

    exit_code = 1


@dataclass
class Tally:
    """What a run has done since it was started, and how much it may do. Prices are for a million tokens."""

    total: int = 0
    done: int = 0
    failed: int = 0
    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    in_flight: int = 0
    trouble: str = ""  # what a server said when it last broke off a scene; empty while all of them answer
    max_tokens: int | None = None
    max_cost: float | None = None
    max_seconds: float | None = None
    prices: tuple[float, float] = (0.0, 0.0)
    stop: str = ""  # why the run is to end, once it is
    began: float = field(default_factory=time.monotonic)
    answered: float = field(default_factory=time.monotonic)  # when a server last answered a call

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def tokens(self) -> int:
        return self.usage.prompt_tokens + self.usage.completion_tokens

    @property
    def cost(self) -> float:
        return (self.usage.prompt_tokens * self.prices[0] + self.usage.completion_tokens * self.prices[1]) / 1e6

    def stopped(self) -> str:
        """Why no further call is to be made; empty while one may."""
        if not self.stop:
            if self.max_tokens is not None and self.tokens >= self.max_tokens:
                self.stop = f"--max-tokens {self.max_tokens:,} reached"
            elif self.max_cost is not None and self.cost >= self.max_cost:
                self.stop = f"--max-cost {self.max_cost:g} reached"
            elif self.max_seconds is not None and self.seconds >= self.max_seconds:
                self.stop = "--max-time reached"
        return self.stop


class Server:
    """An endpoint, and how many scenes it is given at once.

    `fixed` is that number; without it, it rises while replies stay as quick as they were, falls slowly when they take
    more than SLOWER times as long, and is halved when the server says that it is asked too much. Servers with the same
    lock, `one_by_one`, make one call at a time between them.
    """

    def __init__(
        self, endpoint: Endpoint, tally: Tally, *, fixed: int | None = None, one_by_one: asyncio.Lock | None = None
    ) -> None:
        self.endpoint = endpoint
        self.limit = 1 if one_by_one else fixed or START
        self.scenes = 0  # being played on it
        self.down_since: float | None = None  # it does not answer; who plays the scenes looks when it is back
        self._tally = tally
        self.answered: float | None = None  # when it last answered a call, or a look whether it is there
        self._adapts = not fixed and not one_by_one
        self._one_by_one = one_by_one
        self._window: list[float] = []  # seconds a call took
        self._quickest = float("inf")
        self._pushed_back = 0

    @property
    def name(self) -> str:
        return self.endpoint.name

    @property
    def digest(self) -> str:
        return self.endpoint.digest

    @property
    def free(self) -> int:
        """How many more scenes it takes."""
        return 0 if self.down_since is not None else self.limit - self.scenes

    async def ask(self, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling) -> Reply[T]:
        if self._one_by_one:
            async with self._one_by_one:
                return await self._ask(messages, reply, sampling)
        return await self._ask(messages, reply, sampling)

    async def _ask(self, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling) -> Reply[T]:
        tally = self._tally
        if why := tally.stopped():
            raise Stopped(why)
        tally.in_flight += 1
        try:
            fresh = await self.endpoint.ask(messages, reply, sampling)
        except ModelError as error:
            tally.usage += error.usage or Usage()
            raise
        finally:
            tally.in_flight -= 1
        tally.calls += 1
        self.seen()
        if not fresh.usage.prompt_tokens and (tally.max_tokens is not None or tally.max_cost is not None):
            tally.stop = f"{self.endpoint.url} does not tell what a call takes, so no budget of tokens can be kept"
        tally.usage += fresh.usage
        if self._adapts:
            self._adapt(fresh.usage.seconds)
        return fresh

    def seen(self) -> None:
        """It has answered just now."""
        self.answered = self._tally.answered = time.monotonic()

    def ease(self) -> None:
        """Fewer scenes: it has said, again and again, that it is asked too much."""
        if self._adapts:
            self.limit = max(1, self.limit // 2)

    def _adapt(self, seconds: float) -> None:
        """After as many calls as scenes, the number of scenes for the next ones."""
        self._window.append(seconds)
        if len(self._window) < max(START, self.limit):
            return
        mean = sum(self._window) / len(self._window)
        self._window.clear()
        self._quickest = min(self._quickest, mean)
        if self.endpoint.pushed_back > self._pushed_back:
            self._pushed_back = self.endpoint.pushed_back
            self.ease()
        elif mean <= SLOWER * self._quickest:
            self.limit = min(MOST, self.limit + max(1, self.limit // 4))
        else:
            self.limit = max(1, self.limit - max(1, self.limit // 10))
