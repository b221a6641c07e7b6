"""The recorded model: a call that was made and paid for once is found the next time, whatever happened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from matrix_align.errors import BadReply, ContextOverflow, Overloaded
from matrix_align.llm.endpoint import Endpoint
from matrix_align.llm.model import Reply, Scripted
from matrix_align.llm.recorded import Recorded
from matrix_align.llm.structured import Prose, Wanted
from matrix_align.store import Store
from matrix_align.types import Message, Sampling, Usage

from .conftest import answered
from .fake import FakeServer, completion, error
from .records import ASKED, SAMPLING, rows


class Word(BaseModel):
    word: str


class TwoWords(BaseModel):
    word: str
    other: str = ""


class Long(Prose):
    """A text that must pass a check of its own."""

    @field_validator("root")
    @classmethod
    def _long(cls, text: str) -> str:
        if len(text) < 10:
            raise ValueError("fewer than 10 characters")
        return text


calls = st.tuples(
    st.lists(st.builds(Message, role=st.sampled_from(["user", "assistant"]), content=st.text(max_size=2)), max_size=2),
    st.sampled_from([str, Word, TwoWords]),
    st.builds(Sampling, temperature=st.sampled_from([0, 0.7]), max_tokens=st.integers(1, 2), seed=st.integers(1, 2)),
)


@given(pool=st.lists(calls, min_size=1, max_size=4), order=st.lists(st.integers(0, 3), max_size=12))
@settings(max_examples=60, deadline=None)
def test_nothing_is_asked_twice_and_no_two_things_are_one(pool: list[Any], order: list[int]) -> None:
    """A call is made the first time it comes up, and gets that reply every later time."""

    async def check(store: Store) -> None:
        scripted = Scripted(*(f'{{"word": "w{number}"}}' for number in range(len(order))))
        model = Recorded(scripted, store)
        told: list[tuple[Any, str]] = []  # (call, reply); messages can't be keys of a dict
        for place in order:
            call = pool[place % len(pool)]
            reply = await model.ask(*call)
            before = [text for known, text in told if known == call]
            assert reply.recorded == bool(before)
            assert before in ([], [reply.text])
            if not before:
                told.append((call, reply.text))
        assert len(scripted.asked) == len(told) == len({text for _, text in told})

    with Store(":memory:") as store:
        asyncio.run(check(store))


async def test_recorded_reply_is_whole(store: Store) -> None:
    def model(*replies: Any) -> Recorded:
        return Recorded(Scripted(*replies), store)

    fresh = await model({"word": "blue"}).ask(ASKED, Word, SAMPLING)
    again = await model().ask(ASKED, Word, SAMPLING)
    assert (fresh.recorded, again.recorded) == (False, True)
    assert again.value == fresh.value == Word(word="blue")
    assert (again.text, again.usage, again.key) == (fresh.text, fresh.usage, fresh.key)
    assert fresh.key
    assert store.call("0" * 64) is None


async def test_usage_and_reasoning_are_kept(server: FakeServer, store: Store) -> None:
    server.on["text"] = lambda _: completion("<think>Sea.</think>Blue.", finish="length")
    async with Endpoint(server.url, "m") as endpoint:
        model = Recorded(endpoint, store)
        fresh, again = await model.ask(ASKED, str, SAMPLING), await model.ask(ASKED, str, SAMPLING)
    assert again.reasoning == fresh.reasoning == "Sea."
    assert again.usage == fresh.usage
    assert again.usage.prompt_tokens == 300, "reasoning has taken room: it was asked for again with more"
    assert again.cut
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [Message(role="user", content="Which colour? ")]},
        {"messages": [Message(role="system", content="Which colour?")]},
        {"messages": [*ASKED, *ASKED]},
        {"reply": Word},
        {"sampling": SAMPLING.model_copy(update={"seed": 4})},
        {"sampling": SAMPLING.model_copy(update={"temperature": 0.8})},
        {"sampling": SAMPLING.model_copy(update={"max_tokens": 65})},
        {"name": "other"},
        {"digest": "other"},
    ],
)
async def test_what_decides_a_reply_is_in_its_key(store: Store, other: dict[str, Any]) -> None:
    async def ask(told: str, **given: Any) -> Any:
        call = {"messages": ASKED, "reply": str, "sampling": SAMPLING, "name": "m", "digest": "d", **given}
        scripted = Scripted(told, name=call.pop("name"), digest=call.pop("digest"))
        return await Recorded(scripted, store).ask(*call.values())

    first = await ask('{"word": "first"}')
    second = await ask('{"word": "second"}', **other)
    assert not second.recorded
    assert "second" in second.text
    assert first.key != second.key
    assert (await ask("never asked")).text == first.text


async def test_address_is_no_part_of_the_key(server: FakeServer, store: Store) -> None:
    """An embedded server has another port each time. Here, no server is left."""
    for url, recorded in ((server.url, False), ("http://127.0.0.1:1/v1", True)):
        async with Endpoint(url, "m", digest="", attempts=1 + recorded, read=30 + recorded) as endpoint:
            assert (await Recorded(endpoint, store).ask(ASKED, str, SAMPLING)).recorded is recorded


async def test_call_is_committed_before_it_is_used(path: Path, store: Store) -> None:
    reply = await Recorded(Scripted("Blue."), store).ask(ASKED, str, SAMPLING)
    assert rows(path, "SELECT key, text FROM calls") == [(reply.key, "Blue.")]


async def test_failure_is_recorded_and_raised_and_asked_again(path: Path, store: Store) -> None:
    model = Recorded(Scripted(BadReply("no form", "Blu"), Overloaded("busy"), "Blue."), store)
    with pytest.raises(BadReply, match="no form"):
        await model.ask(ASKED, str, SAMPLING)
    with pytest.raises(Overloaded, match="busy"):
        await model.ask(ASKED, str, SAMPLING)
    assert (await model.ask(ASKED, str, SAMPLING)).value == "Blue."
    assert (await model.ask(ASKED, str, SAMPLING)).recorded
    told = rows(path, "SELECT error, message, reply FROM failures ORDER BY id")
    assert told == [("BadReply", "no form", "Blu"), ("Overloaded", "busy", "")]
    keys = rows(path, "SELECT key FROM failures UNION SELECT key FROM calls")
    assert len(keys) == 1


async def test_recorded_reply_that_is_no_longer_one_is_asked_for_again(store: Store) -> None:
    """All plain texts have one form on the wire, and the check of a text may have changed since."""
    model = Recorded(Scripted("Blue.", "Blue, I should think."), store)
    await model.ask(ASKED, str, SAMPLING)
    longer = await model.ask(ASKED, Long, SAMPLING)
    assert (longer.recorded, longer.text) == (False, "Blue, I should think.")
    again = await model.ask(ASKED, Long, SAMPLING)
    assert (again.recorded, again.text) == (True, "Blue, I should think.")


HARD = ["Grüße, 世界 😀", "a\0b", "half \ud800 an emoji", "'); DROP TABLE calls; --", "x" * 10**6]


@pytest.mark.parametrize("text", HARD)
async def test_any_text_can_be_recorded(store: Store, text: str) -> None:
    """A user's own model need not clean its texts or its errors."""
    model = Recorded(Scripted(text, Overloaded(text), BadReply("no", text), name=text[:50]), store)
    fresh = await model.ask(ASKED, str, SAMPLING)
    again = await model.ask(ASKED, str, SAMPLING)
    assert again.recorded
    assert again.value == fresh.value
    for kind in (Overloaded, BadReply):
        with pytest.raises(kind):
            await model.ask([], str, SAMPLING)


async def test_scene_goes_on_where_it_broke_off(server: FakeServer, store: Store) -> None:
    server.faults = [lambda _: None] * 8 + [lambda _: error(503, "busy")]
    async with Endpoint(server.url, server.name, attempts=1) as endpoint:
        with pytest.raises(Overloaded):
            await answered(Recorded(endpoint, store))
        paid = len(server.requests) - 1
        answer, scene = await answered(Recorded(endpoint, store))
    assert scene.revised
    assert sum(call.recorded for call in answer.calls) == paid >= 8
    assert len(answer.calls) == len(server.requests) - 1


class Slow:
    """A model that answers once it is allowed to. It counts the callers that asked and those that left."""

    name, digest = "slow", ""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.asked = self.left = 0

    async def ask(self, messages: Sequence[Message], reply: Wanted[Any], sampling: Sampling) -> Reply[Any]:
        self.asked += 1
        try:
            await self.answer.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return Reply("Blue.", "Blue.", "", Usage(requests=1))


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_one_of_two_callers_is_cancelled(store: Store, cancelled: int) -> None:
    """Whichever of the two asked first, the other one gets the single reply."""
    slow = Slow()
    model = Recorded(slow, store)
    callers = [asyncio.create_task(model.ask(ASKED, str, SAMPLING)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    callers[cancelled].cancel()
    await asyncio.wait([callers[cancelled]])
    slow.answer.set()
    assert (await callers[1 - cancelled]).value == "Blue."
    assert callers[cancelled].cancelled()
    assert (slow.asked, slow.left) == (1, 0)


async def test_last_caller_that_is_cancelled_ends_the_request(store: Store) -> None:
    slow = Slow()
    model = Recorded(slow, store)
    callers = [asyncio.create_task(model.ask(ASKED, str, SAMPLING)) for _ in range(3)]
    await asyncio.sleep(0.01)
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    assert (slow.asked, slow.left) == (1, 1)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing goes on that nobody waits for"
    slow.answer.set()
    assert (await model.ask(ASKED, str, SAMPLING)).value == "Blue.", "and the call can be made again"


async def test_failure_that_nobody_is_left_to_hear_of_is_recorded(path: Path, store: Store) -> None:
    """The first caller is cancelled, and the second waits. The failure belongs to the request that both shared."""
    release = asyncio.Event()

    class Failing(Slow):
        async def ask(self, messages: Sequence[Message], reply: Wanted[Any], sampling: Sampling) -> Reply[Any]:
            self.asked += 1
            await release.wait()
            raise Overloaded("busy")

    model = Recorded(Failing(), store)
    callers = [asyncio.create_task(model.ask(ASKED, str, SAMPLING)) for _ in range(2)]
    await asyncio.sleep(0.01)
    callers[0].cancel()
    release.set()
    with pytest.raises(Overloaded):
        await callers[1]
    assert rows(path, "SELECT DISTINCT error FROM failures") == [("Overloaded",)]


def test_model_is_asked_in_one_event_loop_after_another(store: Store) -> None:
    """The first loop ends with a call in flight, as when a notebook is stopped."""
    slow = Slow()
    model = Recorded(slow, store)
    loop = asyncio.new_event_loop()
    left_behind = loop.create_task(model.ask(ASKED, str, SAMPLING))
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))

    async def again() -> str:
        slow.answer = asyncio.Event()
        slow.answer.set()
        return (await asyncio.wait_for(model.ask(ASKED, str, SAMPLING), 20)).value

    assert asyncio.run(again()) == "Blue."
    left_behind.cancel()
    loop.run_until_complete(asyncio.wait([left_behind]))
    loop.close()


async def test_overflow_of_an_earlier_process_is_tried_again(path: Path) -> None:
    """Since then the server may accept longer prompts. Within one process, the answer would be the same."""
    scripted = Scripted(ContextOverflow("too long"), "Blue.")
    with Store(path) as store:
        model = Recorded(scripted, store)
        for _ in range(2):
            with pytest.raises(ContextOverflow, match="too long"):
                await model.ask(ASKED, str, SAMPLING)
    assert len(scripted.asked) == 1
    with Store(path) as store:
        assert (await Recorded(scripted, store).ask(ASKED, str, SAMPLING)).value == "Blue."


async def test_overflow_can_be_recalled(path: Path) -> None:
    """A run recalls it, so that a continued scene finds the calls that came after the overflow."""
    with Store(path) as store, pytest.raises(ContextOverflow):
        await Recorded(Scripted(ContextOverflow("too long")), store).ask(ASKED, str, SAMPLING)
    with Store(path) as store:
        store.recall_overflows()
        with pytest.raises(ContextOverflow, match="too long"):
            await Recorded(Scripted(), store).ask(ASKED, str, SAMPLING)
        store.forget_overflows()
        assert (await Recorded(Scripted("Blue."), store).ask(ASKED, str, SAMPLING)).value == "Blue."
