"""A text that is read while it is written: what was shown stays true, and no more is held back than must be."""

from __future__ import annotations

import asyncio

import pytest

from matrix_align import Question
from matrix_align.llm.reasoning import part
from matrix_align.llm.structured import parse
from matrix_align.llm.writing import Writing
from matrix_align.simulation.revise import revised

REVISED = revised(Question(text="How do I ask for a raise?"))


def shown(text: str, reasons: bool = False) -> list[str]:
    """What is shown after each character."""
    writing = Writing(asyncio.Event())
    states = []
    for end in range(1, len(text) + 1):
        writing.read(text[:end], REVISED, reasons)
        states.append(writing.text)
    return states


@pytest.mark.parametrize(
    "text",
    [
        "Ask her after lunch. The critical thing is calm.",
        "  <answer>Ask her</answer> today.",
        "<think>She may be tired.</think>\n\nAsk her later.",
        "Here is my thought process: she is tired. Here is my response: Ask her later.",
        "analysisShe is tired.assistantfinalAsk her later.",
        "Write: a < b, and c > d; [1] is a list. The critiques of others help.",
        "Ask her.<|im_end|>",
        "What this answer could mean is open; this is my original idea, my social scenery.",
        "One\r\ntwo \x00three.  ",
    ],
)
def test_what_is_shown_is_the_beginning_of_the_reply(text: str) -> None:
    reply = parse(part(text).answer, REVISED).root
    assert all(reply.startswith(state) for state in shown(text))


@pytest.mark.parametrize("leak", ["the critique", "My revised answer", "the social scene", "this original response"])
def test_leak_is_not_shown(leak: str) -> None:
    assert shown(f"Ask her today, as {leak} says.")[-1] == "Ask her today, as"


def test_only_the_tail_that_could_become_a_leak_is_held_back() -> None:
    states = shown("Ask the boss.")
    assert [state for state in states if state] == [
        *("A", "As", "Ask", "Ask", "Ask", "Ask", "Ask"),
        *("Ask", "Ask the b", "Ask the bo", "Ask the bos", "Ask the boss", "Ask the boss."),
    ]


def test_model_that_reasons_in_its_text_without_an_opening_mark() -> None:
    """The calls before have shown that it does."""
    states = shown("She is tired.</think>Ask her later.", reasons=True)
    assert states[-1] == "Ask her later."
    assert all("Ask her later.".startswith(state) for state in states)


def test_text_that_begins_anew_does_not_change_what_was_shown() -> None:
    writing = Writing(asyncio.Event())
    writing.read("Ask her", REVISED, False)
    writing.read("Blue", REVISED, False)
    assert writing.text == "Ask her"
    writing.read("Ask her today.", REVISED, False)
    assert writing.text == "Ask her today."
