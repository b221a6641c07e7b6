"""The scenes shown as examples: they are valid and fit themselves, and who is shown them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from matrix_align import Endpoint, Question, Settings
from matrix_align.llm.structured import Within, parse
from matrix_align.simulation import modulator, opening
from matrix_align.simulation.critique import aftermath, critique
from matrix_align.simulation.examples import examples
from matrix_align.simulation.types import Move, Refusal, Scene

from .conftest import Run, played
from .fake import FakeServer, kind

SHOWN = examples(Settings(detail="brief"))
WHOLE = [scene for scene in SHOWN if scene.ending]
NAMED = pytest.mark.parametrize("scene", WHOLE, ids=lambda scene: scene.ego)


def test_there_are_examples_different_in_kind() -> None:
    """An answer that harms, one that refuses, and harmless ones that stand. All are about different questions."""
    assert len({scene.question.text for scene in SHOWN}) == len(SHOWN) >= 4
    harmed = [bool(scene.aftermath and scene.aftermath.harmed) for scene in WHOLE]
    stand = [scene.revised == scene.initial for scene in WHOLE]
    assert harmed == [not each for each in stand] and len(set(stand)) == 2
    assert {scene.stance.answer for scene in SHOWN if scene.stance} == {"helps", "hurts", "refuses"}
    harms = {scene.risk.harm for scene in SHOWN if scene.risk}
    assert harms == {"nobody is harmed", "loses", "deceived", "pressed", "exposed", "endangered"}
    assert {scene.ending.how for scene in WHOLE if scene.ending} >= {"goal reached", "steps finished"}


@pytest.mark.parametrize("scene", SHOWN, ids=lambda scene: scene.question.text[:20])
def test_an_example_is_a_brief_scene(scene: Scene) -> None:
    """Each part is a reply that a brief call would take as it stands, uncut."""
    assert scene.settings.brief and scene.risk
    parts: list[Any] = [scene.situation, scene.risk, scene.stance, scene.critique, scene.aftermath]
    parts += [event.verdict for event in scene.events]
    parts += [*scene.cast.roles, *scene.plan.steps] if scene.cast and scene.plan else []
    for part in filter(None, parts):
        assert parse(part.model_dump_json(), Within(type(part), {}, True)) == part
    if scene.situation:
        assert scene.situation.ego not in scene.question.text, "the one who asks is not named in the question"


@NAMED
def test_an_example_fits_its_own_scene(scene: Scene) -> None:
    """Its events are what the code would make of its moves and verdicts, and its numbers are there."""
    _, cast, plan = scene.set_up
    assert scene.stance and scene.stance == opening.stance_of(scene, Refusal(refuses=scene.stance.answer == "refuses"))
    assert len(cast.roles) == scene.settings.roles and len(plan.steps) == scene.settings.steps
    assert opening.enter(scene.evolve(cast=None), opening.Opening(steps=plan.steps, roles=cast.roles)) == scene
    so_far = scene.evolve(events=(), ending=None)
    for event in scene.events:
        assert event.number == len(so_far.events) + 1
        assert event.actor in scene.parties
        assert set(event.verdict.observers) <= set(scene.parties) - {event.actor}
        assert event.verdict.ending in (modulator.ACTION if event.actor == scene.ego else modulator.REACTION)
        if event.actor == scene.ego and event.action == (step := plan.steps[event.step - 1]).act:
            assert (event.when, event.words) == (step.when, scene.quoted(step.words))
        else:
            assert event.because and not event.words
        for number in event.because:
            assert event.actor in scene.events[number - 1].verdict.observers, "it has observed what it reacts to"
        move = Move(**{name: getattr(event, name) for name in Move.model_fields})
        so_far = modulator.rule(so_far, [move], [event.verdict])
    assert so_far.events == scene.events
    last_act = [event for event in scene.events if event.actor == scene.ego][-1]
    assert modulator.ending(scene, last_act) == scene.ending


@NAMED
def test_the_aftermath_of_an_example_fits_it(scene: Scene) -> None:
    """One fate for each party, points on incidents and passages that are there, and the answer's fate by the gate."""
    assert scene.aftermath and scene.critique
    found = scene.aftermath
    assert tuple(fate.who for fate in found.fates) == scene.affected()
    assert parse(found.model_dump_json(), aftermath(scene).reply).model_dump() == found.model_dump()
    assert all((fate.harm == "none") == (fate.cause == "nobody") for fate in found.fates)
    points = scene.critique
    assert parse(points.model_dump_json(), critique(scene).reply).model_dump() == points.model_dump()
    assert bool(points.points) == scene.asks_for_change == (scene.revised != scene.initial)


@NAMED
def test_an_example_is_asked_about_as_the_scene_at_hand_is(scene: Scene) -> None:
    """What is shown of it knows nothing that comes later: a live scene at the same point would be asked the same."""
    before = scene.evolve(
        stance=None, cast=None, plan=None, events=(), ending=None, aftermath=None, critique=None, revised=None
    )
    asked = [opening.situation(before), opening.risk(before), opening.stance(before)]
    if scene.plan and scene.ending:
        asked += [opening.opening(before), aftermath(scene.evolve(aftermath=None, critique=None, revised=None))]
    if scene.critique and scene.critique.points:
        asked.append(critique(scene.evolve(critique=None, revised=None)))
    for request in asked:
        *head, question = [message.content for message in request.messages(scene.settings.memory)]
        assert len(head) == 1 or question in head, f"{request.kind} shows it otherwise"


def turns(body: dict[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


@pytest.mark.parametrize(
    ("settings", "shown"),
    [({"detail": "brief"}, True), ({"detail": "brief", "without": ("examples",)}, False), ({"detail": "full"}, False)],
    ids=["brief", "brief without", "full"],
)
async def test_who_is_shown_examples(
    server: FakeServer, model: Endpoint, settings: dict[str, Any], shown: bool
) -> None:
    """Brief scenes, unless they are switched off. Examples are turns between the instruction and what is asked."""
    scene = await played(model, roles=2, steps=2, **settings)
    for body in server.requests:
        if kind(body) == "text":
            continue
        asked = ["user"] if not shown else ["user", "assistant"] * (turns(body).count("user") - 1) + ["user"]
        assert turns(body) == ["system", *asked], kind(body)
        if kind(body) in ("Asker", "Opening", "Stance", "Verdict", "Reaction", "Aftermath", "Critique"):
            assert (len(turns(body)) > 2) == shown, kind(body)
        for message in body["messages"]:
            if message["role"] == "assistant":
                assert set(json.loads(message["content"])) == set(properties(body))
    revision = server.requests[-1]
    assert ("assistant" in turns(revision)) == shown
    assert scene.revised


def properties(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["response_format"]["json_schema"]["schema"]["properties"]
    return found


async def test_examples_are_no_part_of_the_scene_at_hand(server: FakeServer, model: Endpoint) -> None:
    """What is asked last, of this scene, holds nothing of theirs."""
    await played(model, Question(text="How do I ask for a raise?"), roles=2, steps=2, detail="brief")
    names = [name for scene in WHOLE for name in scene.parties]
    for body in server.requests:
        assert not [name for name in names if name in body["messages"][-1]["content"]]


async def test_the_head_of_a_kind_is_the_same(server: FakeServer, model: Endpoint) -> None:
    """All calls of a kind begin alike, whatever the scene, so a server's prefix cache pays for the examples once."""
    for text in ("How do I ask for a raise?", "How do I bake bread?"):
        await played(model, Question(text=text), roles=2, steps=2, detail="brief")
    for of in sorted({kind(body) for body in server.requests} - {"text"}):
        heads = {json.dumps(body["messages"][:-1]) for body in server.requests if kind(body) == of}
        assert len(heads) == 1


def test_exported_calls_hold_no_examples(cli: Run, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """A tuned model should do without them: a row is the instruction, the question at hand and the reply."""
    run, out = str(tmp_path / "run"), tmp_path / "rows.jsonl"
    size = ("--roles", "2", "--steps", "1", "--limit", "2", "--detail", "brief")
    done = cli("generate", str(questions), "--out", run, "--endpoint", server.url, *size)
    assert done.returncode == 0, done.stderr
    assert any(len(body["messages"]) > 2 for body in server.requests if kind(body) == "Verdict")
    done = cli("export", run, "--out", str(out), "--mix", "simulation=1")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line)["messages"] for line in out.read_text().splitlines()]
    assert rows
    for row in rows:
        assert [turn["role"] for turn in row] == ["system", "user", "assistant"]
        assert not [name for scene in WHOLE for name in scene.parties if name in json.dumps(row)]
