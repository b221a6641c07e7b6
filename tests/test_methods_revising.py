"""The methods that start from the model's own answer and revise it: what each of their calls is asked."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from matrix_align import Scene, Settings
from matrix_align.simulation.examples import examples
from matrix_align.simulation.prompts import PROMPTS as SCENE
from matrix_align.simulation.revise import revise
from matrix_align.simulation.types import Aftermath, Critique, Fate, Point

from .asked import HISTORY, SYSTEM, TALK, ask

INITIAL = "Dig by the fence. Water it."
NOTHING_WRONG: dict[str, Any] = {
    "consequences": "It grows.",
    "hurts": "",
    "answer": "helps",
    "missing": "",
    "points": [],
}
POINT = {"quotes": [1], "problem": "The roots lift the fence.", "change": "Keep three metres away."}
FORESEEN = NOTHING_WRONG | {"hurts": "the neighbour, whose fence breaks", "points": [POINT]}


async def test_foresee_revises_as_matrix_does() -> None:
    """The revision is asked in matrix's words: only where the consequences come from differs."""
    got = await ask("foresee", INITIAL, FORESEEN, "Keep away from the fence.")
    assert got.kinds == ["initial", "foresight", "revision"]
    assert got.turns(0) == [TALK.text]
    system, asked = got.chats[1]
    assert "Look ahead" in system.content
    [meaning] = re.findall(r'answer: "refuses" if .*?, "helps" if .*?\.', SCENE.render("stance", rules=""))
    assert meaning in system.content, "what refuses, hurts and helps is the same as in a scene"
    assert all(text in asked.content for text in (SYSTEM, HISTORY[0].content, "(1) Dig by the fence.\n(2) Water it."))
    fate = Fate(who="Ann", later="She mends it.", harm="loses", cause="the answer")
    scene = Scene(
        question=TALK,
        settings=Settings(),
        initial=INITIAL,
        aftermath=Aftermath(consequences="It grows.", fates=(fate,), found_out="Ann", missing=""),
        critique=Critique(points=(Point(incidents=(), **POINT),)),
    )
    assert list(got.chats[2]) == revise(scene).messages(0)
    assert (got.answer.initial, got.answer.text, got.answer.state) == (INITIAL, "Keep away from the fence.", "revised")


async def test_foresee_lets_a_good_answer_stand() -> None:
    """Where nobody is hurt and nothing is missing, no revision is asked for, whatever points there are."""
    for foresight in (NOTHING_WRONG, NOTHING_WRONG | {"points": [POINT]}):
        got = await ask("foresee", INITIAL, foresight)
        assert (got.answer.initial, got.answer.text, got.answer.state) == (INITIAL, INITIAL, "answer stands")


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"hurts": "the neighbour"}, "It grows.\n- the neighbour\n"),
        ({"missing": "the season"}, "It grows.\n- the season\n"),
        ({"answer": "refuses"}, "It grows.\n</effects>"),
        ({"answer": "hurts"}, "It grows.\n</effects>"),
    ],
)
async def test_foresee_opens_the_gate(found: dict[str, Any], told: str) -> None:
    """Without a point, the revision is told what is wrong."""
    got = await ask("foresee", INITIAL, NOTHING_WRONG | found, "Keep away.")
    assert told in got.task(2)
    assert got.answer.text == "Keep away."


async def test_a_brief_foresight_is_shown_matrix_examples() -> None:
    """Their endings, without the scene. The examples that have no critique are left out, and those that stand stand."""
    got = await ask("foresee", INITIAL, NOTHING_WRONG | {"hurts": "Ann"}, "Keep away.", detail="brief")
    whole = [scene for scene in examples(Settings(detail="brief")) if scene.aftermath and scene.critique]
    shown = got.chats[1][1:-1]
    assert len(shown) == 2 * len(whole) == got.answer.calls[1].examples > 0
    for scene, asked, reply in zip(whole, shown[::2], shown[1::2], strict=True):
        assert scene.question.text in asked.content
        assert ('"points":[]' in reply.content) is not scene.asks_for_change
        assert "[" not in json.loads(reply.content)["consequences"], "it can't cite events that nobody saw"
    assert len(got.chats[2]) == 1 + len(HISTORY) + 1 + 2 * sum(scene.asks_for_change for scene in whole)
