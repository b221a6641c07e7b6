"""Brief and full scenes: how long texts may be, in what is asked for and in what comes. The record tells both apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from matrix_align import Endpoint, Recorded, Sampling, Store
from matrix_align.llm.schema import schema_of
from matrix_align.llm.structured import Within, parse
from matrix_align.simulation.types import Aftermath, Asker, Scene, Situation
from matrix_align.types import Message

from .conftest import played
from .fake import FakeServer, fill, kind
from .staged import staged

LINES = {"brief": 100, "full": 300}
SENTENCE = {"brief": 160, "full": 400}
CONSEQUENCES = {"brief": 300, "full": 1500}


def lengths(node: Any) -> set[int]:
    """All greatest lengths in a schema."""
    if isinstance(node, list):
        return {length for each in node for length in lengths(each)}
    if not isinstance(node, dict):
        return set()
    own = {node["maxLength"]} if isinstance(node.get("maxLength"), int) else set()
    return own | {length for each in node.values() for length in lengths(each)}


@pytest.mark.parametrize("detail", ["brief", "full"])
async def test_bounds_of_a_scene(server: FakeServer, model: Endpoint, detail: str) -> None:
    """Every call asks for texts of this length, and what comes longer from a server that heeds no schema is cut."""

    def wordy(body: dict[str, Any]) -> Any:
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        return fill(schema, schema, "and so on " * 300) if schema else "It depends."

    asker = "Asker" if detail == "brief" else "Situation"
    beside = ("Risk", "Refusal") if detail == "brief" else ("Stance",)
    choice = "Choice" if detail == "brief" else "Deviation"
    kinds = (asker, *beside, "Opening", "Verdict", "Reaction", choice, "Aftermath", "Critique")
    server.on = dict.fromkeys(kinds, wordy)
    scene = await played(model, roles=2, steps=2, detail=detail)
    assert set(kinds) <= set(server.kinds())
    for body in server.requests:
        if kind(body) not in ("text", "Refusal"):
            found = lengths(body["response_format"])
            assert max(found) == {"Aftermath": CONSEQUENCES, asker: SENTENCE}.get(kind(body), LINES)[detail]
            assert found <= {40, 60, LINES[detail], SENTENCE[detail], CONSEQUENCES[detail]}
    situation, cast, plan = scene.set_up
    assert scene.stance and scene.aftermath and scene.critique
    assert isinstance(situation, Asker) and isinstance(situation, Situation) == (detail == "full")
    assert SENTENCE[detail] - 15 < len(situation.asks) <= SENTENCE[detail]
    lines = [
        situation.setting,
        scene.risk.done if scene.risk else scene.stance.hurts,
        cast.roles[0].duty,
        plan.steps[0].act,
        scene.events[0].verdict.outcome,
    ]
    lines += [scene.events[1].action, scene.aftermath.fates[0].later, scene.critique.points[0].problem]
    assert all(LINES[detail] - 15 < len(line) <= LINES[detail] for line in lines)
    assert CONSEQUENCES[detail] - 15 < len(scene.aftermath.consequences) <= CONSEQUENCES[detail]
    assert len(situation.ego) <= 40 and len(plan.steps[0].when) <= 60


def test_a_brief_reply_of_any_length_is_taken() -> None:
    """The length is a wish: the schema says it, and a longer text is cut, not refused."""
    told = dict.fromkeys(Situation.model_fields, "Ask her. " * 100)
    for brief in (True, False):
        wanted = Within(Situation, {}, brief)
        limits = {name: each["maxLength"] for name, each in schema_of(wanted)["properties"].items()}
        assert limits["who"] == (100 if brief else 300)
        found = parse(json.dumps(told), wanted).model_dump()
        assert all(limits[name] - 15 < len(text) <= limits[name] for name, text in found.items())
    assert schema_of(Within(Situation, {}, False)) == schema_of(Situation)
    assert lengths(schema_of(Within(Aftermath, {}, True))) == {100, 300}


async def test_record_tells_brief_calls_from_full_ones(server: FakeServer, model: Endpoint, store: Store) -> None:
    """The same messages, asked for in another length, are another call."""
    asked, sampling = [Message(role="user", content="Who asks?")], Sampling(seed=1)
    server.on["Situation"] = lambda _: dict.fromkeys(Situation.model_fields, "Ask her. " * 100)
    recorded = Recorded(model, store)
    for brief, longest in ((True, 100), (False, 300)):
        wanted = Within(Situation, {}, brief)
        first = await recorded.ask(asked, wanted, sampling)
        again = await recorded.ask(asked, wanted, sampling)
        assert (first.recorded, again.recorded) == (False, True)
        assert again.value == first.value
        assert longest - 15 < len(again.value.who) <= longest
    assert len(server.requests) == 2


async def test_scene_is_brief_again_from_the_record(server: FakeServer, model: Endpoint, store: Store) -> None:
    scenes: list[Scene] = []
    for detail in ("brief", "full", "brief", "full"):
        scenes.append(await played(Recorded(model, store), roles=2, steps=1, detail=detail))
        if len(scenes) == 2:
            server.requests.clear()
    assert scenes[:2] == scenes[2:] and scenes[0] != scenes[1]
    assert not server.requests


async def test_a_brief_scene_knows_of_the_ego_what_the_question_says(server: FakeServer, model: Endpoint) -> None:
    """It knows what the ego asks for, in place of who it is, its motive and its goal. The other roles don't know it."""
    await staged(server, model, "Ann knocks.", "Ann waits.", reacts={"Guard": "Guard nods."}, detail="brief")
    asked = "Ann asks for quiet."
    for of in ("Opening", "Verdict", "Choice", "Aftermath", "Critique"):
        prompts = server.prompts(of)
        assert prompts and all(asked in text for text in prompts), of
    reactions = server.prompts("Reaction")
    assert reactions and not any(asked in text for text in reactions)
    assert all("- Ann (person)\n" in text for text in reactions)
