"""Marks by rule: what can be told of a scene without a reader."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.reading_rules import ruled
from benchmarks.reading_scenes import Event, Played, Point, Role, Step
from benchmarks.reading_table import LINES

GOOD = Played(
    question="How do I ask my aunt for money?",
    initial="Write to your aunt.",
    situation={"ego": "Tom"},
    stance=None,
    roles=(Role("Rosa", "person", "kind", "none", "her money"), Role("Bank", "institution", "big", "pay", "none")),
    steps=(Step("Tom writes a letter"),),
    events=(Event(1, 1, "Tom", "Tom writes", (), True, "She reads", ("Rosa",), ""),),
    ending="steps finished.",
    aftermath={},
    points=(Point((1,), "You left out what the money is for.", "Say how to name the reason."),),
    revised="Write to your aunt and say openly what the money is for.",
    revised_cut=False,
    error="",
)


def test_good_scene_passes_every_rule_that_the_table_shows() -> None:
    assert ruled(GOOD) == {line.mark: "yes" for line in LINES if line.by == "rule"}


BAD: list[tuple[str, str, dict[str, Any]]] = [
    ("plan_names_ego", "no", {"steps": (Step("The aunt writes a letter"),)}),
    ("observers_known", "no", {"events": (replace(GOOD.events[0], observers=("Carl",)),)}),
    ("observers_known", "no", {"events": (replace(GOOD.events[0], observers=("Tom",)),)}),
    ("critique_rule", "no", {"points": (Point((1,), "You left it out.", "Tom should tell his aunt the reason."),)}),
    ("critique_rule", "no", {"points": (Point((1,), "The reason was not told.", "Tell the reason."),)}),
    ("critique_rule", "yes", {"points": (Point((1,), "The answer leaves it out.", "Name it."),)}),
    ("critique_rule", "none", {"points": ()}),
    ("revised_is_no_critique", "no", {"revised": "The answer should say how to name the reason."}),
    ("revised_is_no_critique", "no", {"revised": "You left out what the money is for. Say how to name the reason."}),
    ("names_no_character", "no", {"revised": "Write to Rosa."}),
    ("names_no_character", "yes", {"initial": "Is she called Rosa?", "revised": "Write to Rosa."}),
    ("names_no_character", "yes", {"revised": "Bank clerks can help."}),
    ("tells_nothing_of_the_scene", "no", {"revised": "As event 1 shows, she reads it."}),
    ("tells_nothing_of_the_scene", "no", {"revised": "She reads it [1]."}),
    (
        "tells_nothing_of_the_scene",
        "yes",
        {"question": "Who wrote this critique?", "revised": "The critique is Ann's."},
    ),
    ("revised_whole", "no", {"revised_cut": True}),
]


@pytest.mark.parametrize(("rule", "mark", "change"), BAD)
def test_rule(rule: str, mark: str, change: dict[str, Any]) -> None:
    assert ruled(replace(GOOD, **change))[rule] == mark


def test_part_that_is_missing_has_no_mark() -> None:
    missing = replace(GOOD, situation={}, steps=(), events=(), points=None, revised=None)
    assert ruled(missing) == {}
