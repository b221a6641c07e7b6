"""How many scenes a server gets at once, and what calls that end early leave in the account.

The stand-in decides how many seconds a call takes, so no clock matters.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

import pytest
from pydantic import BaseModel

from matrix_align.errors import Overloaded
from matrix_align.llm.endpoint import Endpoint
from matrix_align.llm.model import Reply
from matrix_align.llm.pool import MOST, START, Server, Tally
from matrix_align.types import Message, Sampling, Usage

ASKED = [Message(role="user", content="Which colour?")]
SAMPLING = Sampling(temperature=0.7, max_tokens=64, seed=3)


class Choice(BaseModel):
    pass


class Verdict(BaseModel):
    pass


class Critique(BaseModel):
    pass


LENGTHS = {Choice: 8, Verdict: 60, Critique: 400}  # tokens of a reply, about
Seconds = Callable[[int, int], float]  # for a reply of so many tokens, with so many in flight


class Clockwork:
    """An endpoint whose replies have lengths drawn from a seed. They take the seconds that it is given."""

    url, name, digest, pushed_back = "http://clockwork/v1", "m", "", 0

    def __init__(self, seconds: Seconds) -> None:
        self._seconds = seconds
        self._dice = random.Random(1)
        self._in_flight = 0

    async def ask(self, messages: Any, reply: type[Any], sampling: Sampling) -> Reply[Any]:
        self._in_flight += 1
        await asyncio.sleep(0)
        tokens = round(LENGTHS[reply] * self._dice.uniform(0.5, 1.5))
        usage = Usage(prompt_tokens=10, completion_tokens=tokens, seconds=self._seconds(tokens, self._in_flight))
        await asyncio.sleep(0)
        self._in_flight -= 1
        return Reply(reply(), "{}", "", usage)


async def limits(endpoint: Clockwork, kinds: list[type[BaseModel]], rounds: int = 40) -> list[int]:
    """The limit after each round. A round has as many calls as the limit allows, and the kinds of call alternate."""
    server, found = Server(cast(Endpoint, endpoint), Tally()), []
    for number in range(rounds):
        kind = kinds[number * len(kinds) // rounds]
        await asyncio.gather(*(server.ask(ASKED, kind, SAMPLING) for _ in range(server.limit)))
        found.append(server.limit)
    return found


@pytest.mark.parametrize(
    "seconds",
    [lambda tokens, in_flight: 0.02 * tokens, lambda tokens, in_flight: 1.0, lambda tokens, in_flight: 0.0],
    ids=["by the token", "by the call", "none"],
)
async def test_kind_of_call_is_not_taken_for_load(seconds: Seconds) -> None:
    """The server's pace does not depend on the load.

    Short replies come first, then long ones, and the limit never falls.
    """
    found = await limits(Clockwork(seconds), [Choice, Verdict, Critique])
    assert found == sorted(found)
    assert found[-1] == MOST


async def test_load_is_found() -> None:
    """The server generates 40 replies at once as quickly as one. Beyond that, it makes no more tokens a second."""
    found = await limits(Clockwork(lambda tokens, in_flight: 0.02 * tokens * max(1, in_flight / 40)), [Verdict])
    assert max(found) < 130
    assert all(40 < limit < 130 for limit in found[10:]), "about where a reply takes twice as long as at its quickest"


async def test_load_that_comes_later_is_found() -> None:
    """Others use the server too, so it is three times as slow at any load."""
    slower = 1.0
    endpoint = Clockwork(lambda tokens, in_flight: 0.02 * tokens * slower)
    server = Server(cast(Endpoint, endpoint), Tally())
    for _ in range(10):
        await asyncio.gather(*(server.ask(ASKED, Verdict, SAMPLING) for _ in range(server.limit)))
    risen = server.limit
    slower = 3.0
    for _ in range(10):
        await asyncio.gather(*(server.ask(ASKED, Verdict, SAMPLING) for _ in range(server.limit)))
    assert START < server.limit < risen / 2


async def test_limit_is_halved_when_requests_are_pushed_back() -> None:
    endpoint = Clockwork(lambda tokens, in_flight: 1.0)
    server = Server(cast(Endpoint, endpoint), Tally())
    endpoint.pushed_back = 1
    await asyncio.gather(*(server.ask(ASKED, Verdict, SAMPLING) for _ in range(START)))
    assert server.limit == START // 2


async def test_fixed_limit_stays() -> None:
    server = Server(cast(Endpoint, Clockwork(lambda tokens, in_flight: in_flight)), Tally(), fixed=5)
    for _ in range(30):
        await asyncio.gather(*(server.ask(ASKED, Verdict, SAMPLING) for _ in range(5)))
    assert server.limit == 5


class Held:
    """An endpoint that answers when it is allowed to, or fails."""

    url, name, digest, pushed_back = "http://held/v1", "m", "", 0

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.at_once = self.most_at_once = 0
        self.fault: Exception | None = None

    async def ask(self, messages: Any, reply: type[Any], sampling: Sampling) -> Reply[Any]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.answer.wait()
        finally:
            self.at_once -= 1
        if self.fault:
            raise self.fault
        return Reply("Blue.", "Blue.", "", Usage(prompt_tokens=1, requests=1))


@pytest.mark.parametrize("one_by_one", [True, False])
async def test_cancelled_calls_leave_the_account_right(one_by_one: bool) -> None:
    """No cancelled call counts as in flight or as made. Calls that wait behind them get their turn."""
    held, tally = Held(), Tally()
    server = Server(cast(Endpoint, held), tally, one_by_one=asyncio.Lock() if one_by_one else None)
    callers = [asyncio.create_task(server.ask(ASKED, str, SAMPLING)) for _ in range(8)]
    await asyncio.sleep(0)
    for caller in callers[:6]:
        caller.cancel()
    await asyncio.wait(callers[:6])
    held.answer.set()
    assert [(await caller).value for caller in callers[6:]] == ["Blue."] * 2
    assert (tally.in_flight, tally.calls, tally.usage.requests, held.at_once) == (0, 2, 2, 0)
    assert held.most_at_once == (1 if one_by_one else 8)
    held.fault = Overloaded("busy")
    with pytest.raises(Overloaded):
        await server.ask(ASKED, str, SAMPLING)
    assert (tally.in_flight, tally.calls) == (0, 2)
