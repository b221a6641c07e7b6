"""The modulator's five powers, each seen in the requests to the model, and what a memory holds."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_align import Answer, BadReply, Endpoint, Scene
from matrix_align.simulation.memory import Told, observed, observed_briefly, recall, ruled, ruled_briefly
from matrix_align.simulation.types import Event, Verdict

from .conftest import answered
from .fake import FakeServer, kind

QUESTION = "How do I ask my neighbour to turn the music down? (the-question)"
INITIAL = "Knock and ask politely. (the-initial-response)"
NAMES = ("Guard", "Bank", "Door")
REFUSED = {"feasible": False, "reason": "The wall is too high."}


def text_of(body: dict[str, Any]) -> str:
    """The text of one request."""
    return "\n".join(message["content"] for message in body["messages"])


def attempt(body: dict[str, Any]) -> str:
    """The attempt that a request for a verdict is about: 'Ann: Ann knocks.'"""
    return str(re.findall(r"<attempt>\n(.*)\n</attempt>", text_of(body))[-1])


def who(body: dict[str, Any]) -> str:
    """The role that a request asks for a reaction."""
    return str(re.findall(r"<you>\n(.+?), (?:person|institution|object)\n", text_of(body))[-1])


async def staged(
    server: FakeServer,
    model: Endpoint,
    *steps: str,
    names: Sequence[str] = NAMES,
    reacts: Mapping[str, str] | None = None,
    rulings: Mapping[str, Mapping[str, Any]] | None = None,
    chooses: Callable[[str], str] = lambda planned: planned or "Ann goes round.",
) -> tuple[Answer, Scene]:
    """The scene of Ann, who plans `steps`, and of the others, who react as `reacts` says or do nothing.

    `rulings` changes the verdict on each attempt that holds these words. All other attempts succeed, and everyone
    observes them. `chooses` is what Ann does, given the planned step, or '' after a refusal.
    """
    situation = {"setting": "A landing at night.", "ego": "Ann", "who": "a tired nurse"}
    server.on["Situation"] = lambda _: situation | {"motive": "the-motive", "goal": "the-goal"}
    told = [
        {"kind": "object", "name": n, "traits": f"near-{n}", "duty": f"duty-{n}", "stake": f"stake-{n}"} for n in names
    ]
    server.on["Cast"] = lambda _: {"roles": told}
    server.on["Plan"] = lambda _: {"steps": list(steps)}
    server.on.setdefault("text", lambda _: INITIAL)

    def verdict(body: dict[str, Any]) -> Any:
        changes = (each for words, each in (rulings or {}).items() if words in attempt(body))
        return server.default(body) | next(changes, {})

    def reaction(body: dict[str, Any]) -> Any:
        action = (reacts or {}).get(who(body), "")
        return {"acts": bool(action), "action": action}

    def choice(body: dict[str, Any]) -> Any:
        planned = re.findall(r"<step>\n(.*)\n</step>", text_of(body))[-1]
        action = chooses(planned)
        return {"as_planned": action == planned, "action": action}

    server.on |= {"Verdict": verdict, "Reaction": reaction, "Choice": choice}
    server.on["Instead"] = lambda _: {"action": chooses("")}
    return await answered(model, QUESTION, roles=len(names), steps=len(steps))


def attempts(server: FakeServer) -> list[str]:
    return [attempt(body) for body in server.requests if kind(body) == "Verdict"]


def reactions_asked(server: FakeServer, name: str) -> list[str]:
    """The prompts in which `name` was asked for a reaction, in order."""
    return [text for text in server.prompts("Reaction") if f"<you>\n{name}, " in text]


# Feasibility.


async def test_what_is_infeasible_did_not_happen(server: FakeServer, model: Endpoint) -> None:
    """Whatever else the verdict says, a refused reaction has no effect. Only its actor and the modulator know of it."""
    claims = {"outcome": "lands-outside", "observers": ["Ann", "Bank"], "harm": "hurts-Bank", "ending": "plan stopped"}
    _, scene = await staged(
        server,
        model,
        "Ann knocks.",
        "Ann waits.",
        "Ann leaves.",
        reacts={"Guard": "Guard jumps-the-wall.", "Bank": "Bank calls."},
        rulings={"jumps-the-wall": REFUSED | claims},
    )
    refused = [event for event in scene.events if event.actor == "Guard"]
    assert [event.verdict.feasible for event in refused] == [False] * 3
    assert all(not (e.verdict.outcome or e.verdict.observers or e.verdict.harm) for e in refused)
    assert scene.ending and scene.ending.how == "plan done"
    for prompt in [*server.prompts("Choice"), *reactions_asked(server, "Bank"), *reactions_asked(server, "Door")]:
        assert "jumps-the-wall" not in prompt
    assert all("jumps-the-wall" in prompt for prompt in reactions_asked(server, "Guard")[1:])
    assert "jumps-the-wall" in server.prompts("Critique")[0]
    assert not any("lands-outside" in text_of(body) or "hurts-Bank" in text_of(body) for body in server.requests)


async def test_refused_ego_action_reaches_nobody(server: FakeServer, model: Endpoint) -> None:
    """Nobody is asked to react to it. The others' memory holds what Ann did instead."""
    _, scene = await staged(server, model, "Ann climbs-over.", rulings={"climbs-over": REFUSED})
    assert [event.action for event in scene.events] == ["Ann climbs-over.", "Ann goes round."]
    assert len(server.prompts("Reaction")) == len(NAMES)
    assert not any("climbs-over" in prompt for prompt in server.prompts("Reaction"))


async def test_refused_once_then_retried_with_the_reason(server: FakeServer, model: Endpoint) -> None:
    """The first refusal of a scene is retried, with its reason. The second ends the scene, with its reason."""
    no = {"climbs": REFUSED, "flies": {"feasible": False, "reason": "Nobody can fly."}}
    answer, scene = await staged(server, model, "Ann climbs.", "Ann waits.", "Ann flies.", "Ann sings.", rulings=no)
    assert attempts(server) == ["Ann: Ann climbs.", "Ann: Ann goes round.", "Ann: Ann waits.", "Ann: Ann flies."]
    assert [call.kind for call in answer.calls].count("retry") == 1
    assert "The wall is too high." in server.prompts("Instead")[0]
    assert scene.events[1].because == (1,)
    assert scene.ending and scene.ending.how == "plan stopped"
    assert "Nobody can fly." in scene.ending.why


async def test_refused_twice_in_a_row(server: FakeServer, model: Endpoint) -> None:
    """If the other way is refused too, the plan stops. The critique and the revision still follow."""
    no = {"climbs": REFUSED, "goes round": {"feasible": False, "reason": "The gate is locked."}}
    _, scene = await staged(server, model, "Ann climbs.", "Ann waits.", rulings=no)
    assert len(scene.events) == 2
    assert scene.ending and scene.ending.how == "plan stopped"
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
    assert not server.prompts("Choice"), "Ann has observed nothing, so she keeps to her plan"


async def test_only_others_of_the_cast_can_observe(server: FakeServer, model: Endpoint) -> None:
    """The schema names everyone but the actor. A reply with another name is rejected."""
    await staged(server, model, "Ann knocks.", reacts={"Guard": "Guard nods."})
    for body in server.requests:
        if kind(body) == "Verdict":
            schema = body["response_format"]["json_schema"]["schema"]
            actor = attempt(body).split(":")[0]
            assert set(schema["properties"]["observers"]["items"]["enum"]) == {"Ann", *NAMES} - {actor}
    with pytest.raises(BadReply, match="observers"):
        await staged(server, model, "Ann knocks.", rulings={"knocks": {"observers": ["Stranger"]}})


async def test_what_a_role_may_know(server: FakeServer, model: Endpoint) -> None:
    """A role knows its own duty and stake. It knows neither the question, the answer, the goal nor others' duties."""
    reacts = {name: f"{name} says word-of-{name}." for name in NAMES}
    await staged(server, model, "Ann knocks.", "Ann waits.", "Ann leaves.", reacts=reacts)
    for name in NAMES:
        prompts = reactions_asked(server, name)
        assert len(prompts) == 3
        for prompt in prompts:
            assert f"duty-{name}" in prompt and f"stake-{name}" in prompt
            for other in set(NAMES) - {name}:
                assert f"duty-{other}" not in prompt and f"stake-{other}" not in prompt
            for secret in ("the-question", "the-initial-response", "the-motive", "the-goal"):
                assert secret not in prompt
    for prompt in server.prompts("Choice"):
        assert "the-motive" in prompt and "the-goal" in prompt
        assert not re.search(r"duty-|stake-|the-question|the-initial-response", prompt)
    assert all("the-goal" in prompt for prompt in server.prompts("Verdict"))


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
    for prompt in server.prompts("Choice"):
        assert "red-word" in prompt and "blue-word" not in prompt
    assert "You have just observed [2]." in server.prompts("Choice")[0]
    done = [event for event in scene.events if event.actor == "Ann"]
    assert [event.action for event in done] == ["Ann knocks.", "Ann runs.", "Ann leaves."]
    assert [event.because for event in done] == [(), (2,), ()]
    assert scene.references[2] == ("event 4",)


# Harm.


async def test_harm_is_named_per_event(server: FakeServer, model: Endpoint) -> None:
    """Harm is noted at its event and in the modulator's record, and in no role's memory."""
    harmed = {"harm": "Bank loses-sleep."}
    _, scene = await staged(server, model, "Ann knocks.", "Ann shouts.", "Ann leaves.", rulings={"shouts": harmed})
    assert [event.verdict.harm for event in scene.events] == ["", "Bank loses-sleep.", ""]
    assert ["loses-sleep" in prompt for prompt in server.prompts("Verdict")] == [False, False, True]
    assert "loses-sleep" in server.prompts("Critique")[0]
    assert not any("loses-sleep" in prompt for prompt in server.prompts("Reaction"))


async def test_old_harm_reaches_the_critique(server: FakeServer, model: Endpoint) -> None:
    """At the paper's size, with lines of usual length, shortening does not lose the first event's harm."""
    names = ("Guard", "Bank", "Door", "Phone", "Friend")
    said = "goes on for quite some time about the noise of last night, and then about the week before."
    reacts = {name: f"{name} {said}" for name in names}
    rulings = {"knocks": {"harm": "Bank loses-sleep."}, said: {"outcome": f"Everybody there hears how it all {said}"}}
    steps = ("Ann knocks.", "Ann waits.", "Ann rings.", "Ann writes.", "Ann leaves.")
    _, scene = await staged(server, model, *steps, names=names, reacts=reacts, rulings=rulings)
    assert len(scene.events) == 30
    assert "loses-sleep" in server.prompts("Critique")[0]


# The ending.


@pytest.mark.parametrize(
    ("rulings", "how", "why", "acted"),
    [
        ({"waits": {"ending": "plan done", "outcome": "All is quiet."}}, "plan done", "Ann [4]: All is quiet.", 2),
        ({"waits": {"ending": "nothing more", "outcome": "All sleep."}}, "nothing more", "Ann [4]: All sleep.", 2),
        ({"shuts": {"ending": "plan stopped", "outcome": "It is shut."}}, "plan stopped", "Door [3]: It is shut.", 1),
        (
            {"knocks": {"ending": "plan done"}, "nods": {"ending": "plan stopped", "outcome": "No."}},
            "plan stopped",
            "Guard [2]: No.",
            1,
        ),
        ({}, "plan done", "Ann has done the last step [7]", 3),
    ],
    ids=["done early", "nothing more", "stopped by a reaction", "stopped after all", "last step"],
)
async def test_endings(
    server: FakeServer, model: Endpoint, rulings: dict[str, Any], how: str, why: str, acted: int
) -> None:
    """The scene ends when the modulator says so, and the ending says how.

    Otherwise it ends with the plan's last step.
    """
    reacts = {"Guard": "Guard nods.", "Door": "Door shuts."}
    _, scene = await staged(server, model, "Ann knocks.", "Ann waits.", "Ann leaves.", reacts=reacts, rulings=rulings)
    assert scene.ending and (scene.ending.how, scene.ending.why) == (how, why)
    assert sum(event.actor == "Ann" for event in scene.events) == acted
    assert f"{how}. {why}" in server.prompts("Critique")[0]


async def test_nothing_more_waits_for_nobody(server: FakeServer, model: Endpoint) -> None:
    """If nothing can follow, nobody is asked, even if all observed the event."""
    _, scene = await staged(server, model, "Ann knocks.", "Ann waits.", rulings={"knocks": {"ending": "nothing more"}})
    assert scene.events[0].verdict.observers == NAMES
    assert not server.prompts("Reaction")


# Memory, as a function.

WORDS = st.lists(st.sampled_from(["pays", "the", "bank", "and", "asks", "Äpfel"]), min_size=1, max_size=20)
PHRASES = WORDS.map(" ".join)
VERDICTS = st.builds(
    lambda reason, feasible, outcome, harm: Verdict(
        reason=reason, feasible=feasible, outcome=outcome, observers=("Bank",), harm=harm, ending="goes on"
    ),
    PHRASES,
    st.booleans(),
    st.just("") | PHRASES,
    st.just("") | PHRASES,
)
HISTORIES = st.lists(st.tuples(st.sampled_from(["Ann", "Guard"]), PHRASES, VERDICTS), max_size=60).map(
    lambda moves: [
        Event(step=1, actor=actor, action=action, number=number, verdict=verdict)
        for number, (actor, action, verdict) in enumerate(moves, start=1)
    ]
)


READERS = st.sampled_from([(observed, observed_briefly), (ruled, ruled_briefly)])


@settings(max_examples=200, deadline=None)
@given(HISTORIES, st.integers(0, 8000), READERS)
def test_recall_is_bounded_and_in_order(events: list[Event], limit: int, reader: tuple[Told, Told]) -> None:
    """Within the limit, the newest event is last and in full. The others are in order, without gaps."""
    text = recall(events, limit, *reader)
    if not events:
        assert text == "(nothing yet)"
        return
    newest = reader[0](events[-1])
    assert len(text) <= limit or text == newest
    assert text.splitlines()[-1] == newest
    numbers = [int(number) for number in re.findall(r"^\[(\d+)\]", text, re.MULTILINE)]
    assert numbers == list(range(numbers[0], len(events) + 1))
    if left_out := re.match(r"\((\d+) earlier events\)", text):
        assert numbers[0] == int(left_out.group(1)) + 1
    else:
        assert numbers[0] == 1 or len(newest) + 30 > limit, "what is left out is counted"


@settings(max_examples=100, deadline=None)
@given(HISTORIES, st.integers(6000, 8000), READERS)
def test_recall_only_grows_while_there_is_room(events: list[Event], limit: int, reader: tuple[Told, Told]) -> None:
    """A new event is a new line after the same text, until it would not fit. So the server's prefix cache holds."""
    for count in range(1, len(events)):
        before, added = recall(events[:count], limit, *reader), reader[0](events[count])
        if len(before) + len(added) + 2 <= limit:
            assert recall(events[: count + 1], limit, *reader) == f"{before}\n{added}"


def test_recall_shrinks_by_blocks() -> None:
    """In a long scene with a full memory, most new events leave the text before them unchanged."""
    verdict = Verdict(reason="r", feasible=True, outcome="o" * 110, observers=(), harm="", ending="goes on")
    events = [Event(step=1, actor="Ann", action="a" * 110, number=n, verdict=verdict) for n in range(1, 201)]
    texts = [recall(events[:count], 6000, observed, observed_briefly) for count in range(1, 201)]
    changed = sum(not after.startswith(before) for before, after in itertools.pairwise(texts))
    assert 0 < changed < len(events) / 2
    assert re.match(r"\(\d+ earlier events\)", texts[-1])


async def test_memory_is_bounded_in_the_scene(server: FakeServer, model: Endpoint) -> None:
    """A role that has seen more than fits is asked with the newest events and a bounded prompt."""
    long = "and then " * 12
    names = ("Guard", "Bank", "Door", "Phone", "Friend", "Baker")
    steps = [f"Ann walks to house {n} {long}" for n in range(1, 9)]
    reacts = {name: f"{name} talks {long}" for name in names}
    rulings = {"then": {"outcome": f"Everybody hears {long}"}}
    _, scene = await staged(server, model, *steps, names=names, reacts=reacts, rulings=rulings)
    assert sum(len(observed(event)) for event in scene.observed_by("Guard")) > 10_000, "more has happened than fits"
    last = reactions_asked(server, "Guard")[-1]
    assert "house 8" in last
    assert len(last) < 9_000
