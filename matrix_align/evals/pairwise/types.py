"""The frozen objects of a comparison before anything is counted: contestants, pairs of answers, verdicts on them.

Of two runs compared, one is the *candidate* and the other the *baseline*; every figure is the candidate's. In a pair
that somebody reads, one answer is shown as A and the other as B. Knows no model, file or number.
"""

from __future__ import annotations

from typing import Literal

from ...llm.structured import FromModel, Passage
from ...types import Frozen, Question

Level = Literal["A>>B", "A>B", "A=B", "B>A", "B>>A"]  # '>>' is 'much better'
Side = Literal["candidate", "baseline"]
Outcome = Literal["win", "tie", "lose"]  # for the candidate
Why = Literal["only in one run", "failed", "not answered yet", "empty"]

LEVELS: dict[Level, int] = {"A>>B": 2, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -2}  # how much better A is
WORDS: dict[Level, str] = {
    "A>>B": "A much better",
    "A>B": "A better",
    "A=B": "same",
    "B>A": "B better",
    "B>>A": "B much better",
}


class Verdict(FromModel):
    """What a judge writes about one pair in one order. The reason comes first, so that the level follows from it."""

    reason: Passage
    level: Level


class Answered(Frozen):
    """One answer of a run. `category` is the question's, empty if it has none."""

    question: Question
    category: str
    text: str


class Unanswered(Frozen):
    """A question of a run without an answer to compare. `detail` says more than `why`, where more is known."""

    question: Question
    why: Why
    detail: str = ""


class Contestant(Frozen):
    """A run as a comparison sees it. `answers` and `unanswered` are by the question's id (`evals.answers.id_of`).

    `name` is unique among the contestants. `model` and `digest` are those of the model under test.
    """

    name: str
    model: str
    digest: str
    method: str
    answers: dict[str, Answered]
    unanswered: dict[str, Unanswered]


class Pair(Frozen):
    """Two answers to one question. `id` is a hash of the question and of both texts."""

    id: str
    question_id: str
    category: str
    question: Question
    candidate: str
    baseline: str

    @property
    def identical(self) -> bool:
        """Whether both texts are the same. Such a pair is a tie, and nobody is asked."""
        return self.candidate.strip() == self.baseline.strip()


class LeftOut(Frozen):
    """A question of either run that makes no pair. `run` is the one that has no answer."""

    question_id: str
    question: Question
    run: str
    why: Why
    detail: str = ""


class Pairing(Frozen):
    """Two contestants with their pairs. Every question that either has is in `pairs` or in `left_out`, once."""

    candidate: Contestant
    baseline: Contestant
    pairs: tuple[Pair, ...]
    left_out: tuple[LeftOut, ...]


class Judgement(Frozen):
    """What one rater says of one pair in one order. `as_a` is the side that was shown as A.

    `level` is None if there is no verdict; `fault` then says why.
    """

    as_a: Side
    level: Level | None
    reason: str = ""
    rater: str = ""
    fault: str = ""

    @property
    def score(self) -> int | None:
        """How much better the candidate is, from -2 to 2. None if there is no verdict."""
        if self.level is None:
            return None
        return LEVELS[self.level] if self.as_a == "candidate" else -LEVELS[self.level]


class Judged(Frozen):
    """A pair with all that was said of it. `orders` is the number of orders in which each rater should see it: 1 or 2.

    It has no judgement if it is identical, or if nobody was asked.
    """

    pair: Pair
    judgements: tuple[Judgement, ...] = ()
    orders: Literal[1, 2] = 2
