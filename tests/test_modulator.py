"""The modulator's powers, each seen in the requests to the model: what may happen, who observes it, and its harm."""

from __future__ import annotations

import re

import pytest

from matrix_align import BadReply, Endpoint

from .fake import FakeServer, kind
from .staged import NAMES, REFUSED, UNHEARD, attempt, attempts, reactions_asked, staged, text_of

# Feasibility.


async def test_what_is_infeasible_did_not_happen(server: FakeServer, model: Endpoint) -> None:
    """Whatever else the verdict says, a refused reaction has no effect.

    Only its actor and the modulator know of it, and of what stood in its way.
    """
    claims = {"outcome": "lands-outside", "observers": ["Ann", "Bank"], "harm": "hurts-Bank", "ending": "stopped"}
    _, scene = await staged(
        server,
        model,
        "Ann knocks.",
        "Ann waits.",
        "Ann leaves.",
        reacts={"Guard": "Guard jumps-the-wall.", "Bank": "Bank calls."},
        rulings={"jumps-the-wall": REFUSED | claims},
        **UNHEARD,
    )
    refused = [event for event in scene.events if event.actor == "Guard"]
    assert [event.verdict.feasible for event in refused] == [False] * 3
    assert all(not (e.verdict.observers or e.verdict.harm) for e in refused)
    assert scene.ending and scene.ending.how == "steps finished"
    for prompt in [*server.prompts("Deviation"), *reactions_asked(server, "Bank"), *reactions_asked(server, "Door")]:
        assert "jumps-the-wall" not in prompt
        assert "lands-outside" not in prompt
    knowing = [*reactions_asked(server, "Guard")[1:], *server.prompts("Critique")]
    assert all("jumps-the-wall" in prompt and "lands-outside" in prompt for prompt in knowing)
    assert not any("hurts-Bank" in text_of(body) for body in server.requests)


async def test_refused_ego_action_reaches_nobody(server: FakeServer, model: Endpoint) -> None:
    """Nobody is asked to react to it. The others' memory holds what Ann did instead."""
    _, scene = await staged(server, model, "Ann climbs-over.", rulings={"climbs-over": REFUSED})
    assert [event.action for event in scene.events] == ["Ann climbs-over.", "Ann goes round."]
    assert len(server.prompts("Reaction")) == len(NAMES)
    assert not any("climbs-over" in prompt for prompt in server.prompts("Reaction"))


async def test_refused_once_then_retried_with_the_reason(server: FakeServer, model: Endpoint) -> None:
    """The first refusal of a scene is retried, with its reason. The second ends the scene, with its reason."""
    no = {"climbs": REFUSED, "flies": {"feasible": False, "outcome": "Nobody can fly."}}
    answer, scene = await staged(server, model, "Ann climbs.", "Ann waits.", "Ann flies.", "Ann sings.", rulings=no)
    assert attempts(server) == ["Ann climbs.", "Ann goes round.", "Ann waits.", "Ann flies."]
    assert [call.kind for call in answer.calls].count("retry") == 1
    assert "The wall is too high." in server.prompts("Instead")[0]
    assert scene.events[1].because == (1,)
    assert scene.ending and scene.ending.how == "stopped"
    assert "Nobody can fly." in scene.ending.why


async def test_refused_twice_in_a_row(server: FakeServer, model: Endpoint) -> None:
    """If the other way is refused too, the scene has stopped. The critique and the revision still follow."""
    no = {"climbs": REFUSED, "goes round": {"feasible": False, "outcome": "The gate is locked."}}
    _, scene = await staged(server, model, "Ann climbs.", "Ann waits.", rulings=no)
    assert len(scene.events) == 2
    assert scene.ending and scene.ending.how == "stopped"
    assert "The gate is locked." in scene.ending.why
    assert scene.critique and scene.revised


# Observers and memory.


async def test_observers_are_exactly_those_named(server: FakeServer, model: Endpoint) -> None:
    """A role named twice observes once. A role not named is not asked, and never learns of the event."""
    rulings = {"step-one": {"observers": ["Guard", "Guard"]}, "guards-word": {"observers": ["Bank"]}}
    answer, scene = await staged(
        server,
        model,
        "Ann whispers step-one.",
        "Ann waits.",
        "Ann leaves.",
        reacts={"Guard": "Guard says guards-word."},
        rulings=rulings,
        **UNHEARD,
    )
    assert scene.events[0].verdict.observers == ("Guard",)
    asked = [call.who for call in answer.calls if call.kind == "reaction" and call.step == 1]
    assert asked == ["Guard"]
    assert all("step-one" in prompt for prompt in reactions_asked(server, "Guard"))
    for name in ("Bank", "Door"):
        assert len(reactions_asked(server, name)) == 2
        assert not any("step-one" in prompt for prompt in reactions_asked(server, name))
    assert "guards-word" in reactions_asked(server, "Bank")[0]
    assert not any("guards-word" in prompt for prompt in reactions_asked(server, "Door"))
    assert not {"Choice", "Deviation"} & set(server.kinds()), "Ann has observed nothing, so she keeps to her plan"


async def test_only_others_of_the_cast_can_observe(server: FakeServer, model: Endpoint) -> None:
    """The schema names everyone but the actor. A reply with another name is rejected."""
    await staged(server, model, "Ann knocks.", reacts={"Guard": "Guard nods."})
    for body in server.requests:
        if kind(body) == "Verdict":
            schema = body["response_format"]["json_schema"]["schema"]
            actor = attempt(body).removeprefix("hour-1. ").split()[0]
            assert set(schema["properties"]["observers"]["items"]["enum"]) == {"Ann", *NAMES} - {actor}
    with pytest.raises(BadReply, match="observers"):
        await staged(server, model, "Ann knocks.", rulings={"knocks": {"observers": ["Stranger"]}})


async def test_what_a_role_may_know(server: FakeServer, model: Endpoint) -> None:
    """A role knows its own duty and stake. It knows neither the question, the answer, the goal nor others' duties.

    The ego knows the question, the answer, its motive and its goal.
    """
    reacts = {name: f"{name} says word-of-{name}." for name in NAMES}
    await staged(server, model, "Ann knocks.", "Ann waits.", "Ann leaves.", reacts=reacts, **UNHEARD)
    for name in NAMES:
        prompts = reactions_asked(server, name)
        assert len(prompts) == 3
        for prompt in prompts:
            assert f"duty-{name}" in prompt and f"stake-{name}" in prompt
            for other in set(NAMES) - {name}:
                assert f"duty-{other}" not in prompt and f"stake-{other}" not in prompt
            for secret in ("the-question", "the-initial-response", "the-motive", "the-goal", "the-risk"):
                assert secret not in prompt
    for prompt in server.prompts("Deviation"):
        assert all(f"the-{own}" in prompt for own in ("motive", "goal", "question", "initial-response"))
        assert not re.search(r"duty-|stake-|the-risk", prompt)
    for prompt in server.prompts("Verdict"):
        assert "the-goal" in prompt and "the-risk" in prompt and "duty-Bank" in prompt and "stake-Bank" in prompt
        assert not re.search(r"the-question|the-initial-response|the-motive", prompt)


async def test_ego_sees_what_it_observed_and_changes(server: FakeServer, model: Endpoint) -> None:
    """Ann observes one of two reactions. Her next step knows only of that one, and she may change it."""
    _, scene = await staged(
        server,
        model,
        "Ann knocks.",
        "Ann waits.",
        "Ann leaves.",
        reacts={"Guard": "Guard says red-word.", "Bank": "Bank says blue-word."},
        rulings={"red-word": {"observers": ["Ann"]}, "blue-word": {"observers": ["Door"]}},
        chooses=lambda planned: "Ann runs." if "waits" in planned else planned,
    )
    for prompt in server.prompts("Deviation"):
        assert "red-word" in prompt and "blue-word" not in prompt
    assert "[2]" in server.prompts("Deviation")[0] and "[3]" not in server.prompts("Deviation")[0]
    done = [event for event in scene.events if event.actor == "Ann"]
    assert [event.action for event in done] == ["Ann knocks.", "Ann runs.", "Ann leaves."]
    first, second = server.prompts("Deviation")
    assert "Ann knocks. (done: [1])" in first and "Ann waits.\n" in first and "1 step is left" in first
    assert "Ann waits. (not done; instead: [4])" in second and "0 steps are left" in second
    assert [event.because for event in done] == [(), (2,), ()]
    hours = ["hour-1", "hour-9", "hour-3"]  # what she does instead has an hour of its own
    assert [event.when for event in done] == hours
    assert [re.findall(r"hour-\d", prompt)[-1] for prompt in reactions_asked(server, "Guard")] == hours
    assert scene.references[2] == ("event 4",)


# Harm.


async def test_harm_is_named_per_event(server: FakeServer, model: Endpoint) -> None:
    """Harm is noted at its event and in the modulator's record. No role learns of it, and neither does Ann."""
    rulings = {"shouts": {"harm": "Bank loses-sleep."}, "nods": {"harm": "Door loses-sleep."}}
    reacts = {"Guard": "Guard nods."}
    _, scene = await staged(server, model, "Ann shouts.", "Ann waits.", "Ann leaves.", reacts=reacts, rulings=rulings)
    harms = {event.action: event.verdict.harm for event in scene.events}
    assert harms == {"Ann shouts.": "Bank loses-sleep.", "Guard nods.": "Door loses-sleep."} | dict.fromkeys(
        ["Ann waits.", "Ann leaves."], ""
    )
    for of in ("Verdict", "Aftermath", "Critique"):
        assert "loses-sleep" in server.prompts(of)[-1]
    for of in ("Reaction", "Deviation"):
        assert server.prompts(of) and not any("loses-sleep" in prompt for prompt in server.prompts(of))


async def test_old_harm_reaches_the_critique(server: FakeServer, model: Endpoint) -> None:
    """At the paper's size, with lines of usual length, shortening does not lose the first event's harm."""
    names = ("Guard", "Bank", "Door", "Phone", "Friend")
    said = "goes on for quite some time about the noise of last night, and then about the week before."
    reacts = {name: f"{name} {said}" for name in names}
    rulings = {"knocks": {"harm": "Bank loses-sleep."}, said: {"outcome": f"Everybody there hears how it all {said}"}}
    steps = ("Ann knocks.", "Ann waits.", "Ann rings.", "Ann writes.", "Ann leaves.")
    _, scene = await staged(server, model, *steps, names=names, reacts=reacts, rulings=rulings, memory=6000, **UNHEARD)
    assert len(scene.events) == 30
    assert "loses-sleep" in server.prompts("Critique")[0]
