"""The look back on a scene: harm and what caused it, what is missing, when the answer stands, and what to change."""

from __future__ import annotations

from typing import Any

import pytest

from matrix_align import BadReply, Endpoint
from matrix_align.simulation.types import Aftermath

from .conftest import played
from .fake import FakeServer, kind
from .staged import INITIAL, NAMES, QUESTION, staged

POINT = {"incidents": [1], "quotes": [1], "problem": "It is rude.", "change": "Write first."}


def fates(harm: str, cause: str) -> list[dict[str, str]]:
    """One of the parties came to this harm by this cause, and nobody else to any."""
    well = [{"who": name, "later": "All is well.", "harm": "none", "cause": "nobody"} for name in ("Ann", *NAMES)]
    return [well[0] | {"harm": harm, "cause": cause}, *well[1:]]


def look(harm: str, cause: str, missing: str) -> dict[str, Any]:
    return {"fates": fates(harm, cause), "missing": missing}


@pytest.mark.parametrize(
    ("harm", "cause", "missing"),
    [
        ("none", "nobody", ""),
        ("none", "the answer", ""),
        *((h, c, "") for h in ("loses", "exposed") for c in ("chance", "own will", "nobody")),
    ],
)
async def test_the_answer_stands(server: FakeServer, model: Endpoint, harm: str, cause: str, missing: str) -> None:
    """Where nothing is missing, and no harm was the answer's, it stays word for word.

    Harm by chance or by the ego's own will alone is no fault of the answer. No call is spent on a critique.
    """
    answer, scene = await staged(server, model, "Ann knocks.", weeks_later=look(harm, cause, missing))
    assert scene.revised == scene.initial == answer.text == INITIAL
    assert scene.critique and not scene.critique.points
    assert scene.aftermath and scene.aftermath.fates[0].harm == harm
    assert len(server.prompts("text")) == 1
    assert [call.kind for call in answer.calls][-1] == "aftermath"


@pytest.mark.parametrize(
    ("harm", "cause", "missing"),
    [
        *((harm, "the answer", "") for harm in ("loses", "deceived", "pressed", "exposed", "endangered")),
        ("none", "nobody", "a way to write"),
    ],
)
async def test_the_answer_is_revised(server: FakeServer, model: Endpoint, harm: str, cause: str, missing: str) -> None:
    """One party harmed by the answer is enough, and so is a useful thing that is missing."""
    answer, scene = await staged(server, model, "Ann knocks.", weeks_later=look(harm, cause, missing))
    assert scene.critique and len(scene.critique.points) == 1
    assert [call.kind for call in answer.calls][-1] == "revision"


@pytest.mark.parametrize("stance", ["refuses", "hurts"])
async def test_the_stance_opens_the_gate(server: FakeServer, model: Endpoint, stance: str) -> None:
    """An answer that refuses, or helps to hurt somebody, is revised even if nobody came to harm in the scene."""
    given = look("none", "nobody", "")
    answer, scene = await staged(server, model, "Ann knocks.", stance=stance, weeks_later=given)
    assert scene.critique and len(scene.critique.points) == 1
    assert [call.kind for call in answer.calls][-1] == "revision"


async def test_without_the_gate_the_points_count(server: FakeServer, model: Endpoint) -> None:
    """Harmless as it was, the answer is revised, because there is a point."""
    given = look("none", "nobody", "")
    answer, scene = await staged(server, model, "Ann knocks.", weeks_later=given, points=[POINT], without=("gate",))
    assert scene.critique and len(scene.critique.points) == 1
    assert [call.kind for call in answer.calls][-1] == "revision"


async def test_without_the_gate_there_may_be_no_point(server: FakeServer, model: Endpoint) -> None:
    """Then nothing is to change, and the answer stands."""
    given = look("none", "nobody", "")
    answer, scene = await staged(server, model, "Ann knocks.", weeks_later=given, points=(), without=("gate",))
    assert scene.revised == INITIAL and [call.kind for call in answer.calls][-1] == "critique"


async def test_where_the_gate_is_open_there_is_a_point(server: FakeServer, model: Endpoint) -> None:
    """The aftermath has found something to change, so the critique must say what."""
    with pytest.raises(BadReply, match="points"):
        await staged(server, model, "Ann knocks.", weeks_later=look("loses", "the answer", ""), points=())


async def test_the_critique_reads_what_the_aftermath_found(server: FakeServer, model: Endpoint) -> None:
    found: dict[str, Any] = {
        "consequences": "the-consequences",
        "found_out": "the-finder",
        "missing": "the-missing-part",
    }
    fate = {"who": "Bank", "later": "the-later-loss", "harm": "loses", "cause": "the answer"}
    found |= {"fates": [*fates("none", "nobody")[:2], fate, *fates("none", "nobody")[3:]]}
    await staged(server, model, "Ann knocks.", stance="hurts", weeks_later=found)
    for part in ("the-consequences", "the-missing-part", "the-later-loss", "Bank", "The answer hurts: the-risk"):
        assert part in server.prompts("Critique")[0]


async def test_the_stance_is_judged_by_itself(server: FakeServer, model: Endpoint) -> None:
    """Its call reads the question and the answer, and nothing of who asks or of the cast."""
    _, scene = await staged(server, model, "Ann knocks.", stance="refuses")
    (asked,) = server.prompts("Stance")
    assert QUESTION in asked and INITIAL in asked
    assert not [part for part in ("Ann", "nurse", "landing", "the-motive", "the-goal", *NAMES) if part in asked]
    assert scene.stance and (scene.stance.hurts, scene.stance.answer) == ("the-risk", "refuses")


async def test_an_unknown_stance_is_refused(server: FakeServer, model: Endpoint) -> None:
    with pytest.raises(BadReply, match="answer"):
        await staged(server, model, "Ann knocks.", stance="helps at another's cost")


def test_who_was_harmed_by_the_answer() -> None:
    cases = [("loses", "the answer"), ("none", "the answer"), ("deceived", "chance"), ("exposed", "own will")]
    found = [{"who": str(n), "later": "l", "harm": harm, "cause": cause} for n, (harm, cause) in enumerate(cases)]
    aftermath = Aftermath.model_validate({"consequences": "c", "fates": found, "found_out": "f", "missing": ""})
    assert [fate.who for fate in aftermath.harmed] == ["0"]


async def test_everyone_but_the_objects_has_a_fate(server: FakeServer, model: Endpoint) -> None:
    """The schema names the parties that can be harmed, and wants a fate of each."""

    def opening(body: dict[str, Any]) -> Any:
        opened = server.default(body)
        opened["roles"][1]["kind"] = "object"
        return opened

    server.on["Opening"] = opening
    scene = await played(model, roles=3, steps=1)
    roles = scene.set_up[1].names()
    body = next(body for body in server.requests if kind(body) == "Aftermath")
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["$defs"]["Fate"]["properties"]["who"]["enum"] == [scene.ego, roles[0], roles[2]]
    assert (schema["properties"]["fates"]["minItems"], schema["properties"]["fates"]["maxItems"]) == (3, 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("incidents", [2]),
        ("incidents", [1, 0]),
        ("incidents", ["the knock"]),
        ("incidents", 1),
        ("quotes", [3]),
        ("quotes", [-1]),
    ],
)
async def test_a_point_on_nothing_is_refused(server: FakeServer, model: Endpoint, field: str, value: Any) -> None:
    """Incidents and passages that are not there: the model is told, and if it insists, the scene fails."""
    with pytest.raises(BadReply, match=field):
        await staged(server, model, "Ann knocks.", points=[POINT | {field: value}])
    assert field in server.prompts("Critique")[1].split("That can't be used:")[1]


async def test_a_fate_of_nobody_is_refused(server: FakeServer, model: Endpoint) -> None:
    stranger = [*fates("none", "nobody")[1:], {"who": "Eve", "later": "l", "harm": "none", "cause": "nobody"}]
    with pytest.raises(BadReply, match="who"):
        await staged(server, model, "Ann knocks.", weeks_later={"fates": stranger})


async def test_a_point_may_rest_on_several_incidents(server: FakeServer, model: Endpoint) -> None:
    point = POINT | {"incidents": [3, 1, 3], "quotes": [2, 1]}
    _, scene = await staged(server, model, "Ann knocks.", "Ann waits.", "Ann leaves.", points=[point])
    assert scene.critique and scene.critique.points[0].incidents == (3, 1), "each once"
    assert scene.references == {1: ("critique point 1",), 2: (), 3: ("critique point 1",)}


@pytest.mark.parametrize(("detail", "most"), [("brief", 3), ("full", 5)])
async def test_number_of_points(server: FakeServer, model: Endpoint, detail: str, most: int) -> None:
    """A server that does not hold to the schema may send more. They are cut."""
    _, scene = await staged(server, model, "Ann knocks.", points=[POINT] * 9, detail=detail)
    assert scene.critique and len(scene.critique.points) == most
    body = next(body for body in server.requests if kind(body) == "Critique")
    assert body["response_format"]["json_schema"]["schema"]["properties"]["points"]["maxItems"] == most
