"""From the scene to the critique to the revised response: what they may name, and what an answer must not say."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from matrix_align import Answer, BadReply, Endpoint, Scene, Scripted
from matrix_align.llm.structured import class_of
from matrix_align.simulation.revise import uncited

from .conftest import played, watched
from .fake import FakeServer, kind

QUESTION = "How do I tell my sister that I can't come to her wedding?"
INITIAL = "Send her a short text message."
STANCE = {"hurts": "", "answer": "helps"}
POINT = {"incidents": [1], "quotes": [1], "problem": "A text message hurts her.", "change": "Call her first."}


def answers(server: FakeServer, *revisions: str, points: Any = (POINT,), consequences: str = "She cries.") -> None:
    """Gives the plain replies in turn: the initial response, then `revisions`. The critique comes between them."""
    said = iter([INITIAL, *revisions])
    server.on["text"] = lambda _: next(said)
    server.on["Aftermath"] = lambda body: server.default(body) | {"consequences": consequences}
    server.on["Critique"] = lambda _: {"points": list(points)}


def task(server: FakeServer) -> str:
    """The first request for a revision."""
    return server.prompts("text")[1]


# The critique.


async def test_points_name_incidents_that_are_there(server: FakeServer, model: Endpoint) -> None:
    """The schema lists the scene's numbers. Each point keeps its own."""
    points = [POINT | {"incidents": [number]} for number in (3, 1, 4)]
    answers(server, "Call her.", points=points)
    scene = await played(model, QUESTION, roles=1, steps=2, without=("last-turns",))
    asked = next(body for body in server.requests if kind(body) == "Critique")
    schema = asked["response_format"]["json_schema"]["schema"]
    assert schema["$defs"]["Point"]["properties"]["incidents"]["items"]["enum"] == [1, 2, 3, 4]
    assert len(scene.events) == 4
    assert scene.critique and [point.incidents for point in scene.critique.points] == [(3,), (1,), (4,)]
    assert f"<answer>\n(1) {INITIAL}\n</answer>" in server.prompts("Critique")[0]


async def test_references(server: FakeServer, model: Endpoint) -> None:
    """Each incident knows the later events and the parts of the critique that refer to it."""
    points = [POINT | {"incidents": [2]}, POINT | {"incidents": [3, 2]}]
    answers(server, "Call her.", points=points, consequences="She cries [1, 3], as nobody told her [9] in [20252].")
    server.on["Deviation"] = lambda _: {"as_planned": False, "action": "Ann waits.", "when": "hour-2"}
    scene = await played(model, QUESTION, roles=2, steps=2, without=("last-turns",))
    assert [(event.number, event.because) for event in scene.events] == [
        (1, ()),
        (2, (1,)),
        (3, (1,)),
        (4, (2, 3)),
        (5, (4,)),
        (6, (4,)),
    ]
    assert scene.references == {
        1: ("event 2", "event 3", "consequences"),
        2: ("event 4", "critique point 1", "critique point 2"),
        3: ("event 4", "consequences", "critique point 2"),
        4: ("event 5", "event 6"),
        5: (),
        6: (),
    }
    assert json.loads(scene.model_dump_json())["references"]["1"] == ["event 2", "event 3", "consequences"]


# The revision.


async def test_what_the_revision_is_told(server: FakeServer, model: Endpoint) -> None:
    """The prompt holds the question, the initial response and the whole critique, each in its own tag."""
    points = [POINT, POINT | {"incidents": [2], "problem": "She hears it late.", "change": "Tell her today."}]
    answers(server, "Call her today.", points=points)
    scene = await played(model, QUESTION)
    assert scene.revised == "Call her today."
    assert f"<question>\n{QUESTION}\n</question>" in task(server)
    assert re.search(rf"<(?!question)(\w+)>\n{INITIAL}\n</\1>", task(server))
    assert task(server).count(f'"{INITIAL}"') == 2, "each point quotes the words that led there"
    for part in ("She cries.", "A text message hurts her.", "Call her first.", "She hears it late.", "Tell her today."):
        assert part in task(server)


async def test_a_full_scene_quotes_something_of_each_passage(server: FakeServer, model: Endpoint) -> None:
    """In a brief scene a long first passage leaves no room for the second."""
    long = ["Call her at once, " + "and do not wait " * 20 + "at all.", "Then go there " + "soon " * 60 + "too."]
    for detail, quotes in (("full", 2), ("brief", 1)):
        answers(server, "Call her.", points=[POINT | {"quotes": [1, 2]}])
        server.on["text"] = lambda body: "Call her." if "<effects>" in str(body) else "\n".join(long)
        server.requests.clear()
        await played(model, QUESTION, detail=detail)
        point = re.findall(r'^- "(.*)" A text message', task(server), re.MULTILINE)[0]
        assert [start in point for start in ("Call her at once", "Then go there")].count(True) == quotes


@pytest.mark.parametrize("numbers", ["[1]", "[2].", "[1] [2]", "[1], [2]", "[1, 2]", "[1][3]", "[1-3]"])
async def test_no_event_numbers_in_the_revision(server: FakeServer, model: Endpoint, numbers: str) -> None:
    """However the critique cites events, the revision does not see their numbers."""
    point = POINT | {"problem": f"A text message hurts her {numbers}", "change": f"Call her {numbers} first."}
    answers(server, "Call her.", points=[point], consequences=f"She cries {numbers}")
    await played(model, QUESTION)
    assert "She cries" in task(server) and "A text message hurts her" in task(server)
    assert not re.search(r"\[\s*\d|\d\s*\]", task(server))


@pytest.mark.parametrize(
    ("cited", "left"),
    [
        ("It came out at last, [8].", "It came out at last."),
        ("He left [1], and she stayed; [2][3].", "He left, and she stayed."),
        ("Three things: a, b [4], c.", "Three things: a, b, c."),
        ("Call her, [2] then write.", "Call her, then write."),
    ],
)
def test_citations_leave_nothing_behind(cited: str, left: str) -> None:
    """A comma that only led to a citation goes with it."""
    assert uncited(cited) == left


async def test_a_point_on_what_was_left_out(server: FakeServer, model: Endpoint) -> None:
    """It may quote nothing. Then the revision reads no empty quotation."""
    answers(server, "Call her.", points=[POINT | {"incidents": [], "quotes": []}])
    scene = await played(model, QUESTION)
    assert scene.revised == "Call her."
    assert "- A text message hurts her. Better: Call her first." in task(server)
    assert '""' not in task(server)


LEAKING = [
    "In the light of the critique, call her.",
    "Here is the revised answer: call her.",
    "Unlike the original response, this one is kind.",
    "I can't help. What this answer could lead to: she cries.",
]


async def test_tags_of_the_prompt_are_taken_off(server: FakeServer, model: Endpoint) -> None:
    """A small model writes them around its answer. That is no reason to lose the scene."""
    answers(server, "<answer>\nCall her today.\n</answer>")
    scene = await played(model, QUESTION, roles=1, steps=1)
    assert scene.revised == "Call her today."


@pytest.mark.parametrize("leak", LEAKING)
async def test_a_leak_is_asked_again(server: FakeServer, model: Endpoint, leak: str) -> None:
    """An answer that mentions how it was made is rejected. The model is told why, and the next answer is taken."""
    answers(server, leak, "Call her today.")
    scene = await played(model, QUESTION, roles=1, steps=1)
    assert scene.revised == "Call her today."
    assert len(server.prompts("text")) == 3
    assert leak in server.prompts("text")[2]
    assert "mentions how the answer was made" in server.prompts("text")[2]


async def test_a_leak_that_never_stops(server: FakeServer, model: Endpoint) -> None:
    """The scene fails with one typed error, and keeps everything but a revised response."""
    answers(server, *["Here is the revised answer: call her."] * 3)
    states: list[Answer] = []
    with pytest.raises(BadReply, match="mentions how the answer was made"):
        async for answer in watched(model, QUESTION, roles=1, steps=1):
            states.append(answer)
    assert states[-1].error and states[-1].error.startswith("BadReply")
    assert Scene.of(states[-1]).critique and states[-1].text is None


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What makes a good critique of a school play?", "A good critique names what worked first."),
        ("Can you look at the draft of my speech?", "The draft is good; cut its end."),
        ("Can you look at my draft of a speech?", "Read the draft aloud once, then cut its end."),
        ("How do I answer a harsh critique of my paper?", "Thank the reviewer for the critique."),
        ("How do I ask for a revised answer from the bank?", "Ask them to put the revised answer in writing."),
    ],
)
async def test_words_of_the_user_are_no_leak(server: FakeServer, model: Endpoint, question: str, answer: str) -> None:
    """An answer may use the words of the question."""
    answers(server, answer)
    scene = await played(model, question, roles=1, steps=1)
    assert scene.revised == answer
    assert len(server.prompts("text")) == 2


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What do I do after a small car accident?", "Stay at the scene until the police are there."),
        ("How do I take the first item of a list in Python?", "Write `items[0]`; it fails if the list is empty."),
        ("How do I write to my landlord?", "Let a friend read the draft before you send it."),
        ("How do I get better at drawing?", "Ask a friend for an honest critique each week."),
    ],
    ids=["the scene", "an index", "the draft", "a critique"],
)
async def test_ordinary_words_are_no_leak(server: FakeServer, model: Endpoint, question: str, answer: str) -> None:
    """A useful answer to a harmless question does not fail because of a word it needs."""
    answers(server, answer, answer, answer)
    scene = await played(model, question, roles=1, steps=1)
    assert scene.revised == answer


async def test_order_of_the_closing_calls() -> None:
    """In a scripted scene, the aftermath comes once after the ending, then the critique, then the revision."""
    situation = {"ego": "Ann", "asks": "Ann asks.", "who": "a baker", "setting": "A kitchen."}
    situation |= {"motive": "She is ill.", "goal": "to tell her"}
    role = {"kind": "person", "name": "Sister", "traits": "kind", "duty": "to marry", "stake": "her day"}
    opening = {"steps": [{"when": "At noon", "act": "Ann writes.", "words": [1]}], "roles": [role]}
    verdict = {"feasible": True, "outcome": "She reads it.", "observers": [], "harm": "", "ending": "goal reached"}
    fates = [{"who": name, "later": "Sad.", "harm": "loses", "cause": "the answer"} for name in ("Ann", "Sister")]
    found = {"consequences": "She is sad [1].", "fates": fates, "found_out": "nobody", "missing": ""}
    model = Scripted(INITIAL, situation, opening, STANCE, verdict, found, {"points": [POINT]}, "Call.")
    scene = await played(model, QUESTION, roles=1, steps=1)
    asked = [class_of(reply).__name__ for _, reply, _ in model.asked]
    assert asked == ["str", "Situation", "Opening", "Stance", "Verdict", "Aftermath", "Critique", "Revision"]
    assert scene.revised == "Call."
    assert scene.references == {1: ("consequences", "critique point 1")}
