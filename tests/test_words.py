"""The words of the answer: where they are said or sent, who receives them reads them. And time, which moves."""

from __future__ import annotations

import re

import pytest

from matrix_align import Endpoint

from .fake import FakeServer, kind
from .staged import INITIAL, REFUSED, UNHEARD, reactions_asked, staged, text_of

LETTER = "Dear neighbour, please (first-word) be quiet. It is late (second-word), and I work. Yours, Ann (third-word)."
STEPS = ("Ann puts up a note.", "Ann reads it out.", "Ann leaves.")


async def test_words_reach_who_observes_them_and_the_modulator(server: FakeServer, model: Endpoint) -> None:
    """Passage 1 reaches the Guard, passage 2 the Bank. Nobody else reads them, but for the modulator, which rules on
    them and remembers them."""
    server.on["text"] = lambda _: LETTER
    rulings = {"puts up": {"observers": ["Guard"]}, "reads it": {"observers": ["Bank"]}}
    _, scene = await staged(server, model, *STEPS, words={1: [1], 2: [2]}, rulings=rulings)
    assert scene.passages[0].endswith("(first-word) be quiet.") and "second-word" in scene.passages[1]
    guard, bank, door = (" ".join(reactions_asked(server, name)) for name in ("Guard", "Bank", "Door"))
    assert ("first-word" in guard, "second-word" in guard) == (True, False)
    assert ("first-word" in bank, "second-word" in bank) == (False, True)
    assert "-word" not in door and "third-word" not in guard + bank
    first, second, third = server.prompts("Verdict")
    assert "first-word" in first and "second-word" not in first
    assert "first-word" in second and "second-word" in second
    assert "first-word" in third and "second-word" in third and "third-word" not in third
    assert [event.words for event in scene.events] == [scene.passages[0], scene.passages[1], ""]


async def test_what_is_done_instead_says_no_words(server: FakeServer, model: Endpoint) -> None:
    """A refused step has delivered nothing, and a changed one is another act."""
    server.on["text"] = lambda _: LETTER
    _, scene = await staged(
        server,
        model,
        *STEPS,
        words={1: [1], 2: [2]},
        reacts={"Guard": "Guard nods."},
        rulings={"puts up": REFUSED},
        **UNHEARD,
        chooses=lambda planned: "Ann sings.",
    )
    done = [event for event in scene.events if event.actor == "Ann"]
    assert [event.words for event in done] == [scene.passages[0], "", "", ""]
    assert not [text for text in server.prompts("Reaction") if "-word" in text]


async def test_a_gap_between_words_shows(server: FakeServer, model: Endpoint) -> None:
    """Passages are said in their order, and what was left out between them is marked."""
    server.on["text"] = lambda _: LETTER
    _, scene = await staged(server, model, *STEPS, words={1: [3, 1], 2: [2, 3]})
    first, second, third = scene.passages
    assert [event.words for event in scene.events] == [f"{first} … {third}", f"{second} {third}", ""]


async def test_without_words_nobody_reads_them(server: FakeServer, model: Endpoint) -> None:
    server.on["text"] = lambda _: LETTER
    _, scene = await staged(server, model, *STEPS, words={1: [1], 2: [2, 3]}, without=("words",))
    assert not any(event.words for event in scene.events)
    inside = [text_of(body) for body in server.requests if kind(body) in ("Verdict", "Reaction", "Deviation")]
    assert inside and not any("-word" in text for text in inside)


async def test_long_words_are_bounded(server: FakeServer, model: Endpoint) -> None:
    """An answer of any length leaves room for what has happened."""
    server.on["text"] = lambda _: "Please be quiet at night, dear neighbour. " * 300
    _, scene = await staged(server, model, *STEPS, words={1: list(range(1, 11))}, memory=1000)
    assert 300 < len(scene.events[0].words) <= 500
    assert scene.ending and scene.ending.how == "steps finished"


@pytest.mark.parametrize("memory", [0, 1, 2])
async def test_next_to_no_memory(server: FakeServer, model: Endpoint, memory: int) -> None:
    """There is no room for words, and a step may have none. The scene is played all the same."""
    server.on["text"] = lambda _: LETTER
    _, scene = await staged(server, model, *STEPS, words={1: [1, 2]}, memory=memory)
    assert all(len(event.words) <= memory // 2 for event in scene.events)
    assert scene.ending and scene.ending.how == "steps finished"


async def test_only_passages_that_are_there(server: FakeServer, model: Endpoint) -> None:
    """The schema lists the answer's passages, and so do those of the critique's quotations."""
    server.on["text"] = lambda _: LETTER
    _, scene = await staged(server, model, "Ann leaves.")
    assert len(scene.passages) == 3
    opening, critique = (
        body["response_format"]["json_schema"]["schema"]["$defs"]
        for body in server.requests
        if kind(body) in ("Opening", "Critique")
    )
    assert opening["Step"]["properties"]["words"]["items"]["enum"] == [1, 2, 3]
    assert critique["Point"]["properties"]["quotes"]["items"]["enum"] == [1, 2, 3]
    for of in ("Opening", "Aftermath", "Critique"):
        assert "(2) It is late" in server.prompts(of)[0]


async def test_an_empty_answer_plays(server: FakeServer, model: Endpoint) -> None:
    """It has no passages, so nothing can be said of it."""
    server.on["text"] = lambda body: "…" if kind(body) == "text" and "<effects>" not in text_of(body) else INITIAL
    _, scene = await staged(server, model, "Ann leaves.")
    assert scene.passages == ("…",)
    assert scene.revised


async def test_time_moves_with_the_steps(server: FakeServer, model: Endpoint) -> None:
    """Each step has its own hour. The ego, who reacts at it and the modulator see it; nobody sees an hour to come."""
    _, scene = await staged(
        server, model, *STEPS, reacts={"Guard": "Guard nods."}, rulings={"nods": {"observers": ["Ann"]}}
    )
    acts = [event for event in scene.events if event.actor == "Ann"]
    assert [event.when for event in acts] == ["hour-1", "hour-2", "hour-3"]
    for name in ("Guard", "Bank"):
        for step, prompt in enumerate(reactions_asked(server, name), start=1):
            assert re.findall(r"hour-\d", prompt)[-1] == f"hour-{step}"
            assert f"hour-{step + 1}" not in prompt
    assert [re.findall(r"hour-\d", prompt)[-1] for prompt in server.prompts("Deviation")] == ["hour-2", "hour-3"]
    for number, prompt in enumerate(server.prompts("Verdict")[::2], start=1):
        assert re.findall(r"<attempt>\n(hour-\d)", prompt) == [f"hour-{number}"]
