"""The figures of a comparison, as frozen objects. What each means: docs/evaluation.md. Computes and prints nothing."""

from __future__ import annotations

from math import nan
from typing import Annotated

from pydantic import BeforeValidator

from ...types import Frozen

# A number that is NaN where nothing was measured. JSON has null for it.
Measured = Annotated[float, BeforeValidator(lambda value: nan if value is None else value)]


class Estimate(Frozen):
    """A figure with the bounds of its 95 % interval. `n` is the number of questions behind it.

    If n is 0, it is not measured, and the others are NaN.
    """

    value: Measured
    low: Measured
    high: Measured
    n: int

    def __str__(self) -> str:
        return f"{self.value:.0%} ({self.low:.0%} to {self.high:.0%})" if self.n else "not measured"

    def signed(self) -> str:
        """The same for a figure between -1 and 1."""
        return f"{self.value:+.0%} ({self.low:+.0%} to {self.high:+.0%})" if self.n else "not measured"


NOT_MEASURED = Estimate(value=nan, low=nan, high=nan, n=0)


class Wins(Frozen):
    """Who won, for the candidate. `win`, `tie`, `lose` are shares of `n`; `net` is win minus lose, from -1 to 1.

    `n` = `wins` + `ties` + `losses`, and `identical` of the ties had two equal texts. `margin` is the mean level, from
    -2 to 2. `p` is the sign test's p-value (two-sided, ties left out), NaN if n is 0.
    """

    n: int
    wins: int
    ties: int
    losses: int
    identical: int
    win: Estimate
    tie: Estimate
    lose: Estimate
    net: Estimate
    margin: Estimate
    p: Measured


class Counts(Frozen):
    """Where every question of either run went. `questions` is the sum of the others."""

    questions: int
    judged: int
    identical: int
    missing: int
    only_in_one: int
    failed: int
    not_answered: int
    empty: int


class Orders(Frozen):
    """What the order of showing did. `position` is the net preference for the answer shown first, from -1 to 1.

    `agreement` is the share of pairs in which both orders name the same outcome, and `kappa` the same beyond chance
    (Cohen 1960). Both are not measured if each pair was shown in one order.
    """

    position: Estimate
    agreement: Estimate
    kappa: Estimate


class LengthControl(Frozen):
    """Net win rate at equal lengths. `effect` is the log-odds that a typical (root mean square) difference adds.

    `longer` is the share in which the candidate is the longer one, of the pairs that differ in length; NaN if none
    does. `words` are both median lengths, the candidate's first; NaN if no pair has an outcome. `warning` says why the
    figure may mislead here; empty if nothing is known.
    """

    net: Estimate
    effect: Estimate
    longer: Measured
    words: tuple[Measured, Measured]
    warning: str = ""


class Raters(Frozen):
    """How far several raters agree. `agreement` is the share of equal outcomes over all pairs of raters on one pair."""

    names: tuple[str, ...]
    agreement: Estimate
    kappa: Estimate


class Comparison(Frozen):
    """One candidate against one baseline. `p_corrected` is Holm's, over all comparisons of the results.

    `by_category` is empty if all questions are of one category. `raters` is None if there is only one. `faults` says
    why verdicts are missing, with numbers of verdicts. `left_out` names the questions that make no pair, one a line.
    """

    candidate: str
    baseline: str
    counts: Counts
    wins: Wins
    by_category: dict[str, Wins]
    orders: Orders
    length: LengthControl
    raters: Raters | None
    p_corrected: Measured
    faults: dict[str, int]
    left_out: tuple[str, ...]


class Rating(Frozen):
    """One contestant's Bradley-Terry rating in Elo points, relative to the first contestant's, which is 0."""

    name: str
    rating: Estimate


class Results(Frozen):
    """All comparisons. `judges` are the judge's name or the raters'. `warnings` belong under every table.

    `ratings` are there for three contestants or more; `no_ratings` says why there are none.
    """

    judges: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    ratings: tuple[Rating, ...] = ()
    no_ratings: str = ""
    warnings: tuple[str, ...] = ()
