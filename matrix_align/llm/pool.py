"""The servers of a run: how many answers each of them works on, what all calls cost, and when to stop.

A `Server` is a model that counts its calls. The `Tally` counts the calls of all servers. Code that shows these figures,
or decides by them, reads them from outside. Knows no method and no record.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel

from ..errors import MatrixAlignError, ModelError
from ..types import Answer, Cut, Message, Sampling, Usage
from .endpoint import Endpoint
from .model import Reply
from .structured import Wanted, class_of

T = TypeVar("T", bound="str | BaseModel")

START = 8  # answers in flight on a server of which nothing is known yet
MOST = 512
SLOWER = 2.0  # a server is full when it takes this many times as long as at its quickest
SAMPLE = 8  # calls of one kind that make one measurement of its pace


class Stopped(MatrixAlignError):
    """The run is ending, and makes no further call. Calls in flight are paid for, so they are awaited."""

    exit_code = 1


@dataclass
class Tally:
    """What this command has done so far, and the limits of what it may do. Prices are for a million tokens."""

    total: int = 0
    done: int = 0
    failed: int = 0
    unfinished: int = 0  # answers that were begun, and that the end of the run broke off
    cut: Counter[Cut] = field(default_factory=Counter)  # answers that stopped early, by why
    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    in_flight: int = 0
    trouble: str = ""  # what a server last said instead of a reply; empty while all of them answer
    max_tokens: int | None = None
    max_cost: float | None = None
    max_seconds: float | None = None
    prices: tuple[float, float] = (0.0, 0.0)
    stop: str = ""  # why the run is ending; empty while it is not
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

    def count(self, answer: Answer) -> None:
        self.failed += bool(answer.error)
        self.done += not answer.error
        self.cut.update([answer.text_cut] if answer.text_cut else [])

    def stopped(self) -> str:
        """Why no further call may be made; empty while calls may be made."""
        if not self.stop:
            if self.max_tokens is not None and self.tokens >= self.max_tokens:
                self.stop = f"--max-tokens {self.max_tokens:,} reached"
            elif self.max_cost is not None and self.cost >= self.max_cost:
                self.stop = f"--max-cost {self.max_cost:g} reached"
            elif self.max_seconds is not None and self.seconds >= self.max_seconds:
                self.stop = "--max-time reached"
        return self.stop


@dataclass
class _Pace:
    """Seconds that a server takes for each generated token, in calls of one kind."""

    quickest: float = 0.0  # the best mean of SAMPLE calls; 0 until there is one
    calls: int = 0  # in the present sample
    seconds: float = 0.0
    tokens: int = 0

    def add(self, seconds: float, tokens: int) -> None:
        self.calls += 1
        self.seconds += seconds
        self.tokens += tokens
        if self.calls == SAMPLE:
            mean = self.seconds / self.tokens
            self.quickest = min(self.quickest or mean, mean)
            self.calls, self.seconds, self.tokens = 0, 0.0, 0


class Server:
    """An endpoint with a `limit`: the number of answers that it works on at the same time.

    The limit is `fixed`, or it adapts. It rises while the server generates tokens as quickly as ever, falls slowly when
    the server takes more than SLOWER times as long, and is halved when the server pushes requests back. Calls are
    compared only with calls of their own kind (the type of their reply), because a long critique is not a sign of load.
    Servers that share the lock `one_by_one` make only one call at a time, all together.
    """

    def __init__(
        self, endpoint: Endpoint, tally: Tally, *, fixed: int | None = None, one_by_one: asyncio.Lock | None = None
    ) -> None:
        self.endpoint = endpoint
        self.limit = 1 if one_by_one else fixed or START
        self.answers = 0  # that it works on now
        self.down_since: float | None = None  # since when it has not answered; None while it answers
        self.answered: float | None = None  # when it last answered a call or a probe
        self._tally = tally
        self._adapts = not fixed and not one_by_one
        self._one_by_one = one_by_one
        self._paces: defaultdict[str, _Pace] = defaultdict(_Pace)  # by kind of call
        self._calls = 0  # since the limit was last set
        self._took = 0.0  # seconds for these calls
        self._at_best = 0.0  # seconds they would have taken at the quickest pace of their kinds
        self._pushed_back = 0

    @property
    def name(self) -> str:
        return self.endpoint.name

    @property
    def digest(self) -> str:
        return self.endpoint.digest

    @property
    def free(self) -> int:
        """How many more answers it can take now."""
        return 0 if self.down_since is not None else self.limit - self.answers

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
            spent = error.usage or Usage()
            tally.usage += spent
            tally.calls += spent.requests > 0
            raise
        finally:
            tally.in_flight -= 1
        tally.calls += 1
        self.seen()
        if not fresh.usage.prompt_tokens and (tally.max_tokens is not None or tally.max_cost is not None):
            tally.stop = f"{self.endpoint.url} does not report tokens, so a budget of tokens or cost can't be kept"
        tally.usage += fresh.usage
        if self._adapts:
            self._adapt(class_of(reply).__name__, fresh.usage)
        return fresh

    def seen(self) -> None:
        """Records that the server has just answered."""
        self.answered = self._tally.answered = time.monotonic()

    def ease(self) -> None:
        """Halves the limit, after the server has pushed requests back."""
        if self._adapts:
            self.limit = max(1, self.limit // 2)

    def _adapt(self, kind: str, usage: Usage) -> None:
        """Counts a call, and sets the limit anew after as many calls as scenes."""
        pace, tokens = self._paces[kind], max(1, usage.completion_tokens)
        pace.add(usage.seconds, tokens)
        self._calls += 1
        self._took += usage.seconds
        self._at_best += tokens * pace.quickest or usage.seconds
        if self._calls < max(START, self.limit):
            return
        full = self._took > SLOWER * self._at_best
        self._calls, self._took, self._at_best = 0, 0.0, 0.0
        if self.endpoint.pushed_back > self._pushed_back:
            self._pushed_back = self.endpoint.pushed_back
            self.ease()
        elif full:
            self.limit = max(1, self.limit - max(1, self.limit // 10))
        else:
            self.limit = min(MOST, self.limit + max(1, self.limit // 4))
