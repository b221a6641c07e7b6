"""The slots of the embedded server, tested on a stand-in that keeps slots as llama.cpp does."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_align.llm.local import Served
from matrix_align.llm.prefix_cache import KEPT, Slots, Slotted, shared
from matrix_align.types import Message, Sampling

from .asking import Pick, Waits
from .fake import FakeServer, error
from .llama import Llama, llama

SAMPLING = Sampling(temperature=0, max_tokens=16, seed=1)
STAGES = ("restore", "completion", "save")


def served(server: Llama, slots: int) -> Served:
    return Served(server.url, "key", "m", "d", slots, states=server.states)


def prompts() -> Iterator[list[Message]]:
    """Prompts of which no two begin alike."""
    for number in itertools.count():
        yield [Message(role="user", content=f"{number} is the number. " * 40)]


def whole(slots: Slots, server: Llama) -> None:
    """Checks that all slots are free, no file is lost or used twice, and the notes on slots and files are true."""
    assert slots.free == set(slots.held)
    assert sorted([*slots.unused, *slots.saved.values()]) == list(range(KEPT))
    for slot, text in slots.held.items():
        assert not text or text.endswith(server.read[slot])
    for text, file in slots.saved.items():
        assert text.endswith((server.states / f"{file}.state").read_text())


@pytest.mark.parametrize("stage", STAGES)
async def test_cancelled_requests_break_nothing(stage: str) -> None:
    """There are more requests than slots and files, each cancelled at one stage. Afterwards everything works."""
    each, count = prompts(), 4
    async with llama() as server, Slotted(served(server, count)) as model:
        shown = [next(each) for _ in range(count)]
        for asked in [*shown, *(next(each) for _ in range(count))]:  # so that states are saved and slots hold others
            await model.ask(asked, str, SAMPLING)
        server.hold = stage
        for number in range(KEPT + 1):
            asked = shown[number % count] if stage == "restore" else next(each)
            caller = asyncio.create_task(model.ask(asked, str, SAMPLING))
            await server.holds.acquire()
            caller.cancel()
            await asyncio.wait([caller])
            if stage != "completion":  # what a completion leaves in its slot is not known
                whole(model.slots, server)
        server.hold = ""
        server.go_on.set()
        await asyncio.gather(*(model.ask(next(each), str, SAMPLING) for _ in range(40)))
        whole(model.slots, server)


async def test_waiting_callers_are_cancelled() -> None:
    """Callers without a slot leave nothing behind. Callers behind them get their turn."""
    each = prompts()
    async with llama() as server, Slotted(served(server, 2)) as model:
        server.hold = "completion"
        callers = [asyncio.create_task(model.ask(next(each), str, SAMPLING)) for _ in range(20)]
        await server.holds.acquire()
        await server.holds.acquire()
        for caller in callers[:18]:
            caller.cancel()
        await asyncio.wait(callers[:18])
        server.go_on.set()
        await asyncio.gather(*callers[18:])
        whole(model.slots, server)


def test_one_event_loop_after_another() -> None:
    """Each loop has more requests than slots. The first loop is broken off, with a slot and a file in use."""
    slots = Slots(2)

    async def many(broken_off: bool) -> None:
        each = prompts()
        async with llama() as server, Slotted(served(server, 2), slots=slots) as model:
            await asyncio.wait_for(asyncio.gather(*(model.ask(next(each), str, SAMPLING) for _ in range(9))), 60)
            if broken_off:
                slots.free.pop()
                slots.unused.pop()

    asyncio.run(many(broken_off=True))
    asyncio.run(many(broken_off=False))
    assert slots.free == {0, 1}
    assert sorted([*slots.unused, *slots.saved.values()]) == list(range(KEPT))


async def test_more_requests_than_files_at_once() -> None:
    """Each request gets a slot, and no file is left to save its state to."""
    each = prompts()
    async with llama() as server, Slotted(served(server, KEPT + 4)) as model:
        server.hold = "save"
        callers = [asyncio.create_task(model.ask(next(each), str, SAMPLING)) for _ in range(KEPT + 4)]
        for _ in range(KEPT):
            await server.holds.acquire()
        server.go_on.set()
        await asyncio.gather(*callers)
        whole(model.slots, server)


async def test_saved_state_is_restored() -> None:
    """A prompt begins like an earlier one whose slot has since read another. Its state is restored."""
    each = prompts()
    async with llama() as server, Slotted(served(server, 1)) as model:
        first = next(each)
        await model.ask(first, str, SAMPLING)
        await model.ask(next(each), str, SAMPLING)
        assert server.did["restore"] == 0
        await model.ask([*first, Message(role="assistant", content="Sea."), *first], str, SAMPLING)
        assert server.did["restore"] == 1
        whole(model.slots, server)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_shared_beginning(head: str, one: str, other: str) -> None:
    texts = [head + one, head + other]
    alike = itertools.takewhile(lambda signs: signs[0] == signs[1], zip(*texts, strict=False))
    assert shared(*texts) == len(list(alike))


async def test_every_request_says_whether_it_is_the_adapters(server: FakeServer, waits: Waits) -> None:
    """So does a request that retries a schema on which the server broke. Otherwise the tuned model would answer."""
    server.faults = [lambda _: error(500, "broken")] * 5 + [lambda _: None]  # then a chat of one token is answered
    with_adapter = Served(server.url, "key", "m", "d", 2, adapter="a")
    async with Slotted(with_adapter, tuned=False) as model:
        assert (await model.ask(next(prompts()), Pick, SAMPLING)).value
    asked = [body for body in server.requests if "response_format" in body]
    assert len(asked) == 6
    assert [body.get("lora") for body in asked] == [[{"id": 0, "scale": 0.0}]] * 6
    assert all("id_slot" in body for body in asked)
