"""A caller may be cancelled: no work continues for nobody, and everything paid for is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from matrix_align import Endpoint, Recorded, Store
from matrix_align.generate.schedule import generate
from matrix_align.llm.pool import Server, Tally

from .conftest import answered
from .fake import FakeServer, error
from .records import ASKED, SAMPLING, rows
from .test_generate import prepared


def alone() -> bool:
    """Whether the test's own task is the only one left."""
    return asyncio.all_tasks() == {asyncio.current_task()}


async def asked_of(server: FakeServer, count: int) -> None:
    """Returns when the server has received `count` requests.

    The server runs on another thread, so no event of ours is set.
    """
    while len(server.requests) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


class Held:
    """Holds all requests to a server after the first few, until they are released."""

    def __init__(self, server: FakeServer, after: int = 0) -> None:
        self._server, self._holds = server, True
        server.faults = [lambda _: None] * after + [self._hold] * 1000

    async def _hold(self, request: Any) -> None:
        while self._holds:  # noqa: ASYNC110 (it is let go from another thread)
            await asyncio.sleep(0.01)

    def let_go(self) -> None:
        self._holds = False
        self._server.faults = []


async def left(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_endpoint_is_as_good_after_requests_that_were_cancelled(server: FakeServer) -> None:
    async with Endpoint(server.url, server.name) as endpoint:
        held = Held(server)
        callers = [asyncio.create_task(endpoint.ask(ASKED, str, SAMPLING)) for _ in range(40)]
        await asked_of(server, 40)
        for caller in callers:
            await left(caller)
        assert alone()
        held.let_go()
        replies = await asyncio.gather(*(endpoint.ask(ASKED, str, SAMPLING) for _ in range(40)))
    assert [reply.text for reply in replies] == ["It depends. Ask first."] * 40


async def test_request_that_waits_to_try_again_is_cancelled(server: FakeServer) -> None:
    """It is cancelled between two attempts, while the client sleeps as long as the server asked for."""
    server.faults = [lambda _: error(429, "slow down", **{"Retry-After": "60"})]
    async with Endpoint(server.url, server.name) as endpoint:
        caller = asyncio.create_task(endpoint.ask(ASKED, str, SAMPLING))
        await asked_of(server, 1)
        await asyncio.sleep(0.05)
        await left(caller)
        assert alone()
    assert len(server.requests) == 1


@pytest.mark.parametrize("at", [1, 3, 6, 10, 15])
async def test_scene_is_cancelled_and_goes_on(server: FakeServer, path: Path, at: int) -> None:
    """Cancels the scene at the n-th request, while others may be in flight. Every answered call is recorded."""
    held = Held(server, after=at - 1)
    with Store(path) as store:
        async with Endpoint(server.url, server.name) as endpoint:
            scene = asyncio.create_task(answered(Recorded(endpoint, store)))
            await asked_of(server, at)
            await left(scene)
            assert alone()
            kept = rows(path, "SELECT count(*) FROM calls")[0][0]
            assert kept >= at - 3
            held.let_go()
            answer, _ = await answered(Recorded(endpoint, store))
    assert answer.text
    assert sum(call.recorded for call in answer.calls) == kept


async def test_run_is_cancelled_and_goes_on(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """No scene is left playing unattended, and none is played twice."""
    server.latency = 0.01
    async with Endpoint(server.url, "fake-model") as endpoint:
        with prepared(tmp_path / "run", questions) as run:
            playing = asyncio.create_task(generate(run, [pooled := Server(endpoint, tally := Tally())], tally))
            await asked_of(server, 40)
            await left(playing)
            assert alone()
            assert (tally.in_flight, pooled.answers) == (0, 0)
        with prepared(tmp_path / "run", questions) as run:
            await generate(run, [Server(endpoint, tally := Tally())], tally)
            assert run.inputs.counts() == {"done": 12}
    assert rows(tmp_path / "run" / "record.db", "SELECT count(*) FROM answers") == [(12,)]
