"""Pairs for the tests of comparisons: contestants with made-up answers, and raters that follow a rule."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from matrix_align.evals.answers import id_of
from matrix_align.evals.pairwise.pairs import pairing
from matrix_align.evals.pairwise.types import LEVELS, Answered, Contestant, Judged, Judgement, Level, Pair, Pairing
from matrix_align.types import Question

Rule = Callable[[str, str], Level]  # what is said of the texts shown as A and B
LEVEL_OF = {score: level for level, score in LEVELS.items()}


def contestant(name: str, texts: Sequence[str], **more: Any) -> Contestant:
    """A run that answers 'Question 0?', 'Question 1?', … with these texts."""
    questions = [Question(text=f"Question {number}?") for number in range(len(texts))]
    answers = {
        id_of(question): Answered(question=question, category="", text=text)
        for question, text in zip(questions, texts, strict=True)
    }
    given = {"model": f"model of {name}", "digest": "", "method": "vanilla", "unanswered": {}} | more
    return Contestant(name=name, answers=answers, **given)


def two(candidate: Sequence[str], baseline: Sequence[str]) -> Pairing:
    return pairing(contestant("new", candidate), contestant("old", baseline))


def rated(pair: Pair, rule: Rule, rater: str = "") -> tuple[Judgement, Judgement]:
    """What a rater who follows the rule says of a pair in both orders."""
    return (
        Judgement(as_a="candidate", level=rule(pair.candidate, pair.baseline), rater=rater),
        Judgement(as_a="baseline", level=rule(pair.baseline, pair.candidate), rater=rater),
    )


def judged(pairs: Sequence[Pair], *rules: Rule) -> list[Judged]:
    """The pairs as raters with these rules judge them."""
    return [
        Judged(
            pair=pair,
            judgements=tuple(
                said for number, rule in enumerate(rules) for said in rated(pair, rule, f"rater {number}")
            ),
        )
        for pair in pairs
    ]


def by_number(a: str, b: str) -> Level:
    """The text with the greater number in front is the better one."""
    one, other = int(a.split()[0]), int(b.split()[0])
    return LEVEL_OF[(one > other) - (one < other)]


def at_random(seed: int) -> Rule:
    drawn = random.Random(seed)
    return lambda a, b: drawn.choice(list(LEVELS))
