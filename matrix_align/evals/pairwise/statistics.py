"""Means, shares and agreements with bootstrap intervals over questions, the sign test, and Holm's correction.

Questions are what is resampled: they are what another sample would replace. SciPy does the mathematics. Knows no pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .results import NOT_MEASURED, Estimate

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]

RESAMPLES = 2000
LEVEL = 0.95
AT_ONCE = 2_000_000  # weights held in memory at once


def bootstrapped(
    statistic: Statistic, n: int, seed: int = 0, questions: Sequence[str] | None = None
) -> tuple[Array, Array, Array]:
    """A statistic's value and the bounds of its percentile interval (Efron 1979), over `n` values of at least two
    questions.

    `questions` names the question of each value. They depend on one another if they are of one question, so they are
    drawn together. Without it each value is of a question of its own. `statistic` gets weights of shape (resamples, n):
    how often each value was drawn. It returns (figures, resamples). The value is that of the weights 1. The same seed
    gives the same bounds.
    """
    from scipy.stats import bootstrap

    numbers = _numbers(n, questions)
    units = numbers.max() + 1

    def of_drawn(drawn: NDArray[np.int64], axis: int) -> Array:
        rows = drawn.reshape(-1, units)
        places = rows + units * np.arange(len(rows))[:, None]
        weights = np.bincount(places.ravel(), minlength=rows.size).reshape(rows.shape).astype(float)
        figures = statistic(weights if questions is None else weights[:, numbers])
        return figures if drawn.ndim > 1 else figures[:, 0]

    bounds = bootstrap(
        (np.arange(units),),
        of_drawn,
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE // n),
        vectorized=True,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return statistic(np.ones((1, n)))[:, 0], np.atleast_1d(bounds.low), np.atleast_1d(bounds.high)


def _numbers(n: int, questions: Sequence[str] | None) -> NDArray[np.int64]:
    """The number of each value's question, counted from 0 in the order in which they come."""
    if questions is None:
        return np.arange(n)
    numbers = {question: number for number, question in enumerate(dict.fromkeys(questions))}
    return np.array([numbers[question] for question in questions])


def means(
    values: Sequence[Sequence[float] | Array] | Array,
    least: float,
    most: float,
    seed: int = 0,
    questions: Sequence[str] | None = None,
) -> list[Estimate]:
    """The mean of each row, with its interval. A row has values from `least` to `most`, one a question, or each of the
    question that `questions` names.

    If all values of a row are alike, a resample can't show that others were possible. The bounds are then those of the
    exact binomial interval (Clopper and Pearson 1934): how many unlike ones there may be if none was seen.
    """
    rows = np.asarray(values, dtype=float)
    n = rows.shape[1]
    if not n:
        return [NOT_MEASURED] * len(rows)
    units = counted(n, questions)
    value, low, high = rows.mean(axis=1), np.full(len(rows), least), np.full(len(rows), most)
    if units > 1:
        value, low, high = bootstrapped(lambda weights: rows @ weights.T / weights.sum(axis=1), n, seed, questions)
    unseen = 1 - ((1 - LEVEL) / 2) ** (1 / units)
    alike = rows.min(axis=1) == rows.max(axis=1)
    low = np.where(alike, value - unseen * (value - least), low)
    high = np.where(alike, value + unseen * (most - value), high)
    return [Estimate(value=v, low=a, high=b, n=units) for v, a, b in zip(value, low, high, strict=True)]


def counted(n: int, questions: Sequence[str] | None) -> int:
    """How many questions `n` values are of."""
    return n if questions is None else len(set(questions))


def kappa(tables: Array, seed: int = 0, questions: Sequence[str] | None = None) -> Estimate:
    """Agreement beyond chance (Cohen 1960). `tables` has a square table for each question, or each of the question that
    `questions` names: one's outcome, the other's.

    Not measured if both only ever name one and the same outcome, since chance alone then agrees always.
    """
    n, names = len(tables), tables.shape[-1]
    if (units := counted(n, questions)) < 2:
        return NOT_MEASURED

    def of_weights(weights: Array) -> Array:
        table = (weights @ tables.reshape(n, -1) / weights.sum(axis=1, keepdims=True)).reshape(-1, names, names)
        agreed = np.trace(table, axis1=1, axis2=2)
        by_chance = (table.sum(axis=1) * table.sum(axis=2)).sum(axis=1)
        room = 1 - by_chance
        beyond: Array = np.divide(agreed - by_chance, room, out=np.ones_like(room), where=room > 1e-12)
        return beyond[None, :]

    if np.count_nonzero(tables.sum(axis=(0, 1))) == 1 == np.count_nonzero(tables.sum(axis=(0, 2))):
        return NOT_MEASURED
    value, low, high = bootstrapped(of_weights, n, seed, questions)
    return Estimate(value=value[0], low=low[0], high=high[0], n=units)


def sign_test(wins: int, losses: int) -> float:
    """The p-value of the two-sided sign test: how often a fair coin divides the decided pairs at least as unevenly."""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for being many (Holm 1979): one false finding among all is then as rare as with one test.

    NaN, which was not tested, stays NaN and is none of the many.
    """
    p = np.asarray(values, dtype=float)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN comes last
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(np.arange(len(order), 0, -1) * p[order]))
    return [float(value) for value in corrected]
