"""Refusals: our rule and the published list on labelled replies of our own, and what docs/evaluation.md says of them.

data/refusals.jsonl was written before the rule. A hash puts about half of it aside; the rule was made on the other
half alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_align.data.refusal import KEYWORDS, PREFIXES, Refusal, keywords, refusal_of, refuses

ROOT = Path(__file__).parent.parent


class Labelled(NamedTuple):
    text: str
    label: Refusal
    kind: str

    @property
    def held_out(self) -> bool:
        return hashlib.sha256(self.text.encode()).hexdigest()[0] >= "8"


LINES = (ROOT / "tests/data/refusals.jsonl").read_text(encoding="utf-8").splitlines()
REPLIES = [Labelled(**json.loads(line)) for line in LINES]
HALVES = {
    "all": REPLIES,
    "held out": [reply for reply in REPLIES if reply.held_out],
    "seen": [reply for reply in REPLIES if not reply.held_out],
}
CLASSIFIERS: dict[str, Callable[[str], Refusal]] = {
    "our rule": refusal_of,
    "29 phrases": lambda text: "full" if keywords(text) else "none",
    "7 phrases": lambda text: "full" if keywords(text, PREFIXES) else "none",
}


class Quality(NamedTuple):
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-9)


def quality(replies: Sequence[Labelled], classify: Callable[[str], Refusal], label: Refusal) -> Quality:
    found = [reply for reply in replies if classify(reply.text) == label]
    right = sum(reply.label == label for reply in found)
    return Quality(right / max(len(found), 1), right / sum(reply.label == label for reply in replies))


def row(name: str, half: str, label: Refusal) -> str:
    """One row of the table in docs/evaluation.md."""
    replies = HALVES[half]
    result = quality(replies, CLASSIFIERS[name], label)
    figures = f"{result.precision:.3f} | {result.recall:.3f} | {result.f1:.3f}"
    return f"| {name} | {half}, {len(replies)} | {label} | {figures} |"


def test_the_replies_are_many_and_of_all_kinds() -> None:
    assert len({reply.text for reply in REPLIES}) == len(REPLIES) >= 200
    assert {reply.label for reply in REPLIES} == {"full", "partial", "none"}
    assert min(len(half) for half in HALVES.values()) >= 100


@pytest.mark.parametrize("half", HALVES)
def test_the_rule_finds_refusals(half: str) -> None:
    assert quality(HALVES[half], refusal_of, "full").f1 >= 0.95


@pytest.mark.parametrize("label", ["full", "partial", "none"])
def test_the_rule_tells_three_classes_apart(label: Refusal) -> None:
    assert quality(REPLIES, refusal_of, label).f1 >= 0.9


def test_the_page_states_these_figures() -> None:
    page = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    rows = [row("our rule", half, label) for half in HALVES for label in ("full", "partial", "none")]
    rows += [row(name, half, "full") for name in ("29 phrases", "7 phrases") for half in HALVES]
    assert [each for each in rows if each not in page] == []


@pytest.mark.parametrize(
    ("text", "words", "rule"),
    [
        ("I cannot recommend this book enough!", True, "none"),
        ("My apologies, but no.", True, "full"),
        ("I won't be doing that.", False, "full"),
        ("Das kann ich leider nicht machen.", False, "full"),
        ("Sure, here's how to prune a rose.", False, "none"),
        ("It is illegal to park there at night. Park behind the station.", True, "none"),
    ],
)
def test_the_list_is_as_published_and_the_rule_reads_on(text: str, words: bool, rule: Refusal) -> None:
    assert keywords(text) is words
    assert refusal_of(text) == rule
    assert refuses(text) is (rule == "full")


def test_the_published_lists() -> None:
    assert len(KEYWORDS) == len(set(KEYWORDS)) == 29
    assert set(PREFIXES) < set(KEYWORDS)


@given(st.text(max_size=300))
def test_any_text_has_a_class(text: str) -> None:
    assert refusal_of(text) in ("full", "partial", "none")
    assert refusal_of(text + " \n") == refusal_of(text)


@pytest.mark.parametrize(
    "part", ["really ", "aly ", "i can't ", "'a ", '"a', "not a b ", "ich kann ", "受け", "dear a", "\n"]
)
def test_no_text_takes_long(part: str) -> None:
    """A pattern that goes back and forth would take hours on one of these, not seconds."""
    began = time.process_time()
    refusal_of("i " + part * 100_000)
    assert time.process_time() - began < 60
