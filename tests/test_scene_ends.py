"""How a scene ends, what is told apart in it, and who gets a last turn."""

from __future__ import annotations

from typing import Any

import pytest

from matrix_align import Endpoint

from .fake import FakeServer, kind
from .staged import NAMES, REFUSED, UNHEARD, attempts, reactions_asked, staged


@pytest.mark.parametrize(
    ("rulings", "how", "why", "acted"),
    [
        (
            {"waits": {"ending": "goal reached", "outcome": "All is quiet."}},
            "goal reached",
            "Ann [4]: All is quiet.",
            2,
        ),
        ({"waits": {"ending": "nothing more", "outcome": "All sleep."}}, "nothing more", "Ann [4]: All sleep.", 2),
        ({"nods": {"ending": "goal reached", "outcome": "Yes."}}, "goal reached", "Guard [2]: Yes.", 1),
        ({"shuts": {"ending": "stopped", "outcome": "It is shut."}}, "stopped", "Door [3]: It is shut.", 1),
        (
            {"knocks": {"ending": "goal reached"}, "nods": {"ending": "stopped", "outcome": "No."}},
            "stopped",
            "Guard [2]: No.",
            1,
        ),
        ({"knocks": REFUSED, "goes round": REFUSED}, "stopped", "Ann can't go on [2]: The wall is too high.", 2),
        ({}, "steps finished", "Ann has done the last step [7]", 3),
    ],
    ids=[
        "goal reached",
        "nothing more",
        "reached by a reaction",
        "stopped by a reaction",
        "stopped after all",
        "refused",
        "steps finished",
    ],
)
async def test_endings_are_told_apart(
    server: FakeServer, model: Endpoint, rulings: dict[str, Any], how: str, why: str, acted: int
) -> None:
    """The scene ends when the modulator says so, and the ending says how.

    Otherwise it ends with the plan's last step, which is not to say that the goal was reached.
    """
    reacts = {"Guard": "Guard nods.", "Door": "Door shuts."}
    steps = ("Ann knocks.", "Ann waits.", "Ann leaves.")
    _, scene = await staged(server, model, *steps, reacts=reacts, rulings=rulings, **UNHEARD)
    assert scene.ending and (scene.ending.how, scene.ending.why) == (how, why)
    assert sum(event.actor == "Ann" for event in scene.events) == acted
    assert f"{how}. {why}" in server.prompts("Aftermath")[0]


async def test_another_act_is_not_the_last_step(server: FakeServer, model: Endpoint) -> None:
    """In a full scene, what was done instead of the plan's last step is not said to be that step."""
    reacts, steps = {"Guard": "Guard nods."}, ("Ann knocks.", "Ann leaves.")
    _, scene = await staged(server, model, *steps, reacts=reacts, chooses=lambda _: "Ann runs.", **UNHEARD)
    assert scene.ending and scene.ending.why == "Ann has no step left after [3]"


async def test_only_some_endings_are_possible(server: FakeServer, model: Endpoint) -> None:
    """A verdict on the ego can't stop it. Another can, and can also give the ego what it wanted."""
    await staged(server, model, "Ann knocks.", reacts={"Guard": "Guard nods."}, **UNHEARD)
    verdicts = [
        body["response_format"]["json_schema"]["schema"]["properties"]["ending"]["enum"]
        for body in server.requests
        if "ending" in str(body.get("response_format"))
    ]
    assert verdicts == [["goes on", "goal reached", "nothing more"], ["goes on", "goal reached", "stopped"]]


async def test_a_brief_scene_goes_on_to_its_last_step(server: FakeServer, model: Endpoint) -> None:
    """A small model ends most scenes at the first act. So before the last step, a verdict can only stop the scene."""
    await staged(
        server, model, "Ann knocks.", "Ann leaves.", reacts={"Guard": "Guard nods."}, detail="brief", **UNHEARD
    )
    endings: list[Any] = [
        body["response_format"]["json_schema"]["schema"]["properties"]["ending"]
        for body in server.requests
        if kind(body) == "Verdict"
    ]
    assert [each.get("enum", each.get("const")) for each in endings] == [
        "goes on",
        ["goes on", "stopped"],
        ["goes on", "goal reached", "nothing more"],
        ["goes on", "goal reached", "stopped"],
    ]


async def test_nothing_more_waits_for_nobody(server: FakeServer, model: Endpoint) -> None:
    """If nothing can follow, nobody is asked, even if all observed the event, and there are no last turns either."""
    reacts = {"Guard": "Guard nods."}
    rulings = {"waits": {"ending": "nothing more"}}
    _, scene = await staged(server, model, "Ann knocks.", "Ann waits.", reacts=reacts, rulings=rulings)
    assert scene.events[-1].verdict.observers == NAMES
    assert len(server.prompts("Reaction")) == len(NAMES), "at the first step only"


# Last turns.


@pytest.mark.parametrize(("detail", "waiting"), [("full", ["Bank", "Ann"]), ("brief", ["Bank"])])
async def test_who_observed_something_last_gets_a_turn(
    server: FakeServer, model: Endpoint, detail: str, waiting: list[str]
) -> None:
    """The Bank sees what the Guard does after it was asked itself. It has a turn before the scene is over.

    The Door does not see it. Ann does, and has a turn too, but for a brief scene.
    """
    rulings = {"pays": {"observers": ["Bank", "Ann"]}}
    reacts = {"Guard": "Guard pays-the-thief."}
    answer, scene = await staged(server, model, "Ann knocks.", reacts=reacts, rulings=rulings, detail=detail)
    assert [call.who for call in answer.calls if call.kind == "reaction"] == [*NAMES, *waiting]
    last = reactions_asked(server, "Bank")[1]
    assert "pays-the-thief" in last and "[2]" in last.rsplit("stake-Bank", 1)[1], "it is asked about that event"
    assert not {"Choice", "Deviation"} & set(server.kinds())
    assert scene.ending and scene.ending.how == "steps finished"


async def test_what_is_done_at_the_last_turn_is_an_event(server: FakeServer, model: Endpoint) -> None:
    """The modulator rules on it, the critique reads it, and it is the last: whoever observes it has no further turn."""
    rulings = {"knocks": {"observers": ["Guard", "Bank"]}, "pays": {"observers": ["Door"]}}
    reacts = {"Guard": "Guard pays-the-thief.", "Door": "Door blocks-the-way."}
    _, scene = await staged(server, model, "Ann knocks.", reacts=reacts, rulings=rulings)
    assert attempts(server) == ["Ann knocks.", "Guard pays-the-thief.", "Door blocks-the-way."]
    last = scene.events[-1]
    assert (last.actor, last.step, last.because) == ("Door", 1, (2,))
    assert last.verdict.observers == ("Ann", "Guard", "Bank")
    assert "blocks-the-way" in server.prompts("Aftermath")[0]
    assert "event 3" in scene.references[2]


async def test_who_has_acted_since_does_not_wait(server: FakeServer, model: Endpoint) -> None:
    """At a later step a role is asked again, about everything that it has observed by then. That was its turn."""
    rulings = {"pays": {"observers": ["Bank"]}, "waits": {"observers": ["Bank"]}}
    reacts = {"Guard": "Guard pays-the-thief."}
    answer, _ = await staged(server, model, "Ann knocks.", "Ann waits.", reacts=reacts, rulings=rulings)
    asked = [(call.who, call.step) for call in answer.calls if call.kind == "reaction"]
    assert asked == [*((name, 1) for name in NAMES), ("Bank", 2)]


async def test_a_refused_reaction_gives_nobody_a_turn(server: FakeServer, model: Endpoint) -> None:
    await staged(server, model, "Ann knocks.", reacts={"Guard": "Guard flies."}, rulings={"flies": REFUSED})
    assert len(server.prompts("Reaction")) == len(NAMES)


async def test_last_turns_also_after_a_stop(server: FakeServer, model: Endpoint) -> None:
    """The scene has stopped for Ann. What the others have seen may still be decisive."""
    rulings = {"shuts": {"ending": "stopped", "observers": ["Guard"]}}
    answer, scene = await staged(
        server, model, "Ann knocks.", "Ann waits.", reacts={"Door": "Door shuts."}, rulings=rulings
    )
    assert scene.ending and scene.ending.how == "stopped"
    assert [call.who for call in answer.calls if call.kind == "reaction"] == [*NAMES, "Guard"]


async def test_without_last_turns_nobody_gets_one(server: FakeServer, model: Endpoint) -> None:
    answer, scene = await staged(server, model, "Ann knocks.", reacts={"Guard": "Guard pays."}, **UNHEARD)
    assert [call.who for call in answer.calls if call.kind == "reaction"] == list(NAMES)
    assert len(scene.events) == 2
    assert answer.settings["without"] == ["last-turns"]


async def test_a_last_turn_may_still_stop_what_was_achieved(server: FakeServer, model: Endpoint) -> None:
    """Ann has reached her goal, until the Bank, who saw what the Guard did, blocks it. A refused move stops nothing."""
    rulings: dict[str, Any] = {
        "pays": {"observers": ["Bank"]},
        "blocks": {"ending": "stopped", "outcome": "It is blocked."},
    }
    rulings |= {"knocks": {"ending": "goal reached", "observers": ["Guard"]}}
    reacts = {"Guard": "Guard pays-the-thief.", "Bank": "Bank blocks-it."}
    _, scene = await staged(server, model, "Ann knocks.", reacts=reacts, rulings=rulings)
    assert scene.ending and (scene.ending.how, scene.ending.why) == ("stopped", "Bank [3]: It is blocked.")
    assert "stopped. Bank [3]" in server.prompts("Aftermath")[0]
    rulings["blocks"]["feasible"] = False
    _, scene = await staged(server, model, "Ann knocks.", reacts=reacts, rulings=rulings)
    assert scene.ending and scene.ending.how == "goal reached"


async def test_a_last_turn_may_still_reach_the_goal(server: FakeServer, model: Endpoint) -> None:
    """The steps are finished without success, until the Bank, who saw what the Guard did, gives Ann what she wanted."""
    rulings: dict[str, Any] = {
        "knocks": {"observers": ["Guard"]},
        "asks": {"observers": ["Bank"]},
        "opens": {"ending": "goal reached", "outcome": "It is open."},
    }
    reacts = {"Guard": "Guard asks-the-bank.", "Bank": "Bank opens-it."}
    _, scene = await staged(server, model, "Ann knocks.", reacts=reacts, rulings=rulings)
    assert scene.ending and (scene.ending.how, scene.ending.why) == ("goal reached", "Bank [3]: It is open.")
