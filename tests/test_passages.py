"""The passages of an answer: its sentences and lines, numbered, so that others can refer to its words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_align.simulation.passages import MOST, numbered, passages, whole_sentences

PARTS = [
    "Ask. ",
    "Ask first",
    "1. ",
    "Ms. ",
    "\n",
    "\n\n",
    "! ",
    "?",
    '."',
    " ",
    "日本語。",
    "…",
    "(e.g. this) ",
    "Это. ",
    "\u2028",
]
texts = st.text() | st.lists(st.sampled_from(PARTS), max_size=200).map("".join)


def without_spaces(text: str) -> str:
    return "".join(text.split())


@given(texts)
def test_nothing_but_white_space_is_lost(text: str) -> None:
    """Joined in order, the passages are the text, of which there are not too many and none is empty."""
    found = passages(text)
    assert without_spaces("".join(found)) == without_spaces(text)
    assert len(found) <= MOST
    assert all(passage == passage.strip() and passage for passage in found)


@given(texts)
def test_numbers_are_stable(text: str) -> None:
    """Spaces around a text change no number, and each passage stands in one line behind its own."""
    assert passages(f"\n {text} \n") == passages(text)
    lines = numbered(text).split("\n") if passages(text) else []
    assert lines == [f"({number}) {passage}" for number, passage in enumerate(passages(text), start=1)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        (" \n ", ()),
        ("Freeze it. Then scrape it off.", ("Freeze it.", "Then scrape it off.")),
        ("1. Freeze the coat.\n2. Scrape it off.", ("1. Freeze the coat.", "2. Scrape it off.")),
        ("Dear Ms. Berg, please call me. Yours, Ann", ("Dear Ms. Berg, please call me.", "Yours, Ann")),
        ('He said "Go home!" Then he left.', ('He said "Go home!"', "Then he left.")),
        ("Is it late? It is late! So go…", ("Is it late?", "It is late!", "So go…")),
        ("It costs 3.50 at example.org today.", ("It costs 3.50 at example.org today.",)),
        ("まず聞いてください。それから書きます。", ("まず聞いてください。", "それから書きます。")),
        ("Спросите сначала. Потом напишите.", ("Спросите сначала.", "Потом напишите.")),
        ("पहले पूछें। फिर लिखें।", ("पहले पूछें।", "फिर लिखें।")),
        ("اسأل أولاً. هل تسمع؟ ثم اكتب.", ("اسأل أولاً.", "هل تسمع؟", "ثم اكتب.")),
    ],
)
def test_what_is_a_passage(text: str, found: tuple[str, ...]) -> None:
    """A sentence or a line. A number before an item and a title before a name are no sentences of their own."""
    assert passages(text) == found


def test_a_long_answer_has_longer_passages() -> None:
    """Neighbours are taken together, so that all of it can be cited."""
    text = "\n".join(f"This is sentence number {number}." for number in range(1, 2 * MOST + 2))
    found = passages(text)
    assert len(found) <= MOST
    assert found[0] == "This is sentence number 1. This is sentence number 2. This is sentence number 3."


def test_a_passage_of_a_long_answer_is_about_one_thing() -> None:
    """Sentences of one line are taken together before lines are, and a heading stays with what it announces."""
    advice = [f"**Step {step}**\nDo this at first. Then do that. Then rest. Then you go on." for step in range(1, 8)]
    found = passages("\n\n".join([*advice, "Good luck to you!"]))
    assert found[:2] == ("**Step 1** Do this at first. Then do that.", "Then rest. Then you go on.")
    assert found[-1] == "Good luck to you!"
    found = passages("\n".join(["# What to bring", *(f"- Thing {number}" for number in range(1, 15))]))
    assert found[:2] == ("# What to bring - Thing 1", "- Thing 2")


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Freeze it. Then scr", "Freeze it."),
        ("Freeze it.", "Freeze it."),
        ("1.5 kg of", ""),
        ("Take:\n- ice\n- a bo", "Take:\n- ice"),
        ('He said "Go!" and', 'He said "Go!"'),
        ("挖一个坑。浇水！然后", "挖一个坑。浇水！"),
        ("他说：“挖一个坑。”然后", "他说：“挖一个坑。”"),
        ("पेड़ लगाओ। पानी", "पेड़ लगाओ।"),
        ("هل تزرع؟ ثم", "هل تزرع؟"),
        ("Dig a ho", ""),
    ],
)
def test_whole_sentences(text: str, whole: str) -> None:
    """What is left of a text that was cut off, in any script."""
    assert whole_sentences(text) == whole
