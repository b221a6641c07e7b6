"""One test for each defect of the authors' released code (ShuoTang123/MATRIX), named after it.

Each would fail on a scene played with that defect.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from aiohttp import web

from matrix_align import Answer, Endpoint, Refused

from .conftest import answered, watched
from .fake import FakeServer, error, kind
from .staged import INITIAL, NAMES, QUESTION, REFUSED, UNHEARD, attempts, reactions_asked, staged, text_of

SPEAKING = {name: f"{name} says word-of-{name}." for name in NAMES}


async def test_feasibility_verdict_never_blocks(server: FakeServer, model: Endpoint) -> None:
    """Their verdict is a tuple, so it is always true. Here a refused action has no effect."""
    _, scene = await staged(server, model, "Ann climbs.", "Ann waits.", rulings={"climbs": REFUSED, "round": REFUSED})
    assert not server.prompts("Reaction")
    assert not any(event.verdict.observers or event.verdict.harm for event in scene.events)
    assert "Ann waits." not in attempts(server)


async def test_verdict_is_resampled_until_yes(server: FakeServer, model: Endpoint) -> None:
    """Each attempt is judged once. A refusal is final."""
    await staged(server, model, "Ann climbs.", reacts={"Guard": "Guard flies."}, rulings={"climbs": REFUSED})
    assert attempts(server) == ["Ann climbs.", "Ann goes round.", "Guard flies."]
    server.requests.clear()
    await staged(server, model, "Ann waits.", reacts={"Guard": "Guard flies."}, rulings={"flies": REFUSED})
    assert attempts(server) == ["Ann waits.", "Guard flies."]


async def test_first_step_reaches_nobody(server: FakeServer, model: Endpoint) -> None:
    """All who observe the first step are asked about it, and can react to it."""
    _, scene = await staged(server, model, "Ann knocks-first.", "Ann waits.", reacts=SPEAKING, **UNHEARD)
    for name in NAMES:
        assert "knocks-first" in reactions_asked(server, name)[0]
    assert [event.actor for event in scene.events if event.step == 1] == ["Ann", *NAMES]


async def test_only_the_first_of_several_messages_is_read(server: FakeServer, model: Endpoint) -> None:
    """Both the ego and a role see everything that has reached them since their last turn."""
    await staged(server, model, "Ann knocks.", "Ann waits.", reacts=SPEAKING, **UNHEARD)
    for name in NAMES:
        assert f"word-of-{name}" in server.prompts("Deviation")[0]
        for other in NAMES:
            assert f"word-of-{other}" in reactions_asked(server, name)[1]


async def test_ego_ignores_what_it_observes(server: FakeServer, model: Endpoint) -> None:
    """The ego does what it decides after the reactions, not the step it had planned."""
    _, scene = await staged(
        server,
        model,
        "Ann knocks.",
        "Ann shouts.",
        reacts={"Guard": "Guard asks for quiet."},
        chooses=lambda planned: "Ann whispers.",
    )
    assert [event.action for event in scene.events if event.actor == "Ann"] == ["Ann knocks.", "Ann whispers."]
    assert "Ann shouts." not in attempts(server)


@pytest.mark.parametrize("how", ["goal reached", "nothing more", "stopped"])
async def test_nothing_can_end_a_scene_early(server: FakeServer, model: Endpoint, how: str) -> None:
    """The modulator ends the scene at the first of five steps, on the action or on a reaction to it."""
    steps = ("Ann knocks.", "Ann waits.", "Ann rings.", "Ann sits.", "Ann leaves.")
    ended = {"nods" if how == "stopped" else "knocks": {"ending": how}}
    _, scene = await staged(server, model, *steps, reacts={"Guard": "Guard nods."}, rulings=ended)
    assert scene.ending and scene.ending.how == how
    assert {event.step for event in scene.events} == {1}
    assert scene.revised


async def test_role_names_are_split_at_or(server: FakeServer, model: Endpoint) -> None:
    """'Doctor' does not become 'Doct'. A comma, an 'and' or a colon does not split a name either."""
    names = ("Doctor", "Orla or Victor", "Salt and Pepper, Ltd.", "Guard: night shift", "(Mentor)")
    _, scene = await staged(
        server, model, "Ann knocks.", names=names, reacts={name: f"{name} nods." for name in names}, **UNHEARD
    )
    assert scene.set_up[1].names() == names
    assert scene.events[0].verdict.observers == names
    assert [event.actor for event in scene.events] == ["Ann", *names]


async def test_first_role_and_last_step_are_lost(server: FakeServer, model: Endpoint) -> None:
    """Every role and every step plays, however they are numbered or laid out."""
    names = ("1. Guard", "Role 2: Bank", "- Door")
    steps = ("Step 1: Ann knocks.", "2. Ann waits.", "Finally, Ann leaves")
    _, scene = await staged(
        server, model, *steps, names=names, reacts={name: f"{name} nods." for name in names}, **UNHEARD
    )
    assert [event.action for event in scene.events if event.actor == "Ann"] == list(steps)
    for step in (1, 2, 3):
        assert [event.actor for event in scene.events if event.step == step] == ["Ann", *names]


async def test_roles_of_one_name_overwrite_each_other(server: FakeServer, model: Endpoint) -> None:
    """Each role keeps its own place, even one spelled slightly differently. One named like the ego is the ego."""
    answer, scene = await staged(server, model, "Ann knocks.", names=("Guard", "Guard", "guard", "Ann", "Guard 2"))
    names = scene.set_up[1].names()
    assert len({"ann", *(name.casefold() for name in names)}) == 5
    assert names[0] == "Guard"
    assert [call.who for call in answer.calls if call.kind == "reaction"] == list(names)


async def test_others_who_all_have_the_name_of_the_ego(server: FakeServer, model: Endpoint) -> None:
    """Without them nobody would be there, so they stay, with names of their own."""
    _, scene = await staged(server, model, "Ann knocks.", names=("Ann", "ann"))
    assert scene.ego == "Ann"
    assert scene.set_up[1].names() == ("Ann 2", "ann 3")


async def test_an_exception_in_one_role_hangs_everything(server: FakeServer, model: Endpoint) -> None:
    """One role's call fails while the calls of others run. The scene ends at once, with that error."""

    async def refuse_bank(request: web.Request) -> web.Response | None:
        body = await request.json()
        return (
            error(400, "no such role")
            if kind(body) == "Reaction" and re.search(r"duty thing \d+\.2", text_of(body))
            else None
        )

    server.faults = [refuse_bank] * 100
    answers: list[Answer] = []

    async def watch() -> None:
        async for answer in watched(model, QUESTION):
            answers.append(answer)

    with pytest.raises(Refused, match="no such role"):
        await asyncio.wait_for(watch(), 30)
    assert answers[-1].error and "no such role" in answers[-1].error
    assert [call.kind for call in answers[-1].calls].count("reaction") == 2


async def test_question_and_answer_are_swapped_at_the_end(server: FakeServer, model: Endpoint) -> None:
    """In the critique and in the revision, the text marked as the question is the question."""
    await staged(server, model, "Ann knocks.")
    closing = server.prompts("text")[1]
    assert f"<question>\n{QUESTION}\n</question>" in closing
    assert re.search(rf"<(?!question)(\w+)>\n{re.escape(INITIAL)}\n</\1>", closing)
    critique = server.prompts("Critique")[0]
    assert f"<question>\n{QUESTION}\n" in critique and f"<answer>\n(1) {INITIAL[:23]}" in critique
    assert server.requests[0]["messages"] == [{"role": "user", "content": QUESTION}]


async def test_all_calls_stand_one_after_the_other(server: FakeServer, model: Endpoint) -> None:
    """Theirs makes 118 to 184 calls at 5 roles x 5 steps, one at a time.

    Here all reactions are asked for before any is answered.
    """
    gate = asyncio.Barrier(5)

    async def wait_for_all(request: web.Request) -> web.Response | None:
        body: dict[str, Any] = await request.json()
        if kind(body) == "Reaction" or '"stopped"' in json.dumps(body.get("response_format")):
            try:
                await asyncio.wait_for(gate.wait(), 20)
            except (TimeoutError, asyncio.BrokenBarrierError):
                return error(400, "asked alone")
        return None

    server.faults = [wait_for_all] * 100
    answer, _ = await answered(model, roles=5, steps=5, **UNHEARD)
    assert len(server.requests) <= 80
    assert answer.depth <= 8 + 4 * 5
