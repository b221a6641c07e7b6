"""Krippendorff's alpha: how far raters agree, beyond what chance would do, with any number of raters and gaps.

After Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability". The interval resamples questions, with all units
of each: another sample has other questions. Hayes and Krippendorff 2007 resample pairs of values, which makes it
narrower. Knows no rating.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ...types import Frozen
from ..pairwise.results import NOT_MEASURED, Estimate
from ..pairwise.statistics import LEVEL, Array, bootstrapped, counted

Metric = Literal["nominal", "ordinal", "interval"]


class Alpha(Frozen):
    """Alpha with the bounds of its 95 % interval. `units` is the number of units that two raters or more rated, and
    `estimate.n` the number of their questions.

    1 is full agreement, 0 what chance would do, and below 0 raters disagree more than by chance. `undefined` says why
    there is none; it is empty if there is one.
    """

    metric: Metric
    estimate: Estimate
    units: int = 0
    undefined: str = ""

    def __str__(self) -> str:
        one = self.estimate
        return (
            f"undefined: {self.undefined}" if self.undefined else f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"
        )


def alpha(values: Array, metric: Metric, seed: int = 0, questions: Sequence[str] | None = None) -> Alpha:
    """Alpha of `values`, of shape (units, raters), NaN where a rater gave none.

    `questions` names the question of each unit; without it each is of a question of its own. If all agree on
    everything, resampling can't show that others might not. The lower bound is then as if the share of questions that
    may be unlike though none was seen (Clopper and Pearson 1934) were rated by chance.
    """
    twice = (~np.isnan(values)).sum(axis=1) > 1
    paired = values[twice]
    scale = np.unique(paired[~np.isnan(paired)])
    n, of = (
        len(paired),
        None if questions is None else [name for name, both in zip(questions, twice, strict=True) if both],
    )
    if why := _undefined(values, n, scale):
        return Alpha(metric=metric, estimate=NOT_MEASURED, undefined=why)
    tables = _coincidences(paired, scale)

    def of_weights(weights: Array) -> Array:
        return _alphas((weights @ tables.reshape(n, -1)).reshape(-1, len(scale), len(scale)), scale, metric)[None, :]

    if (asked := counted(n, of)) < 2:
        (value,) = of_weights(np.ones((1, n)))[0]
        return Alpha(metric=metric, estimate=Estimate(value=value, low=-1, high=1, n=asked), units=n)
    values_, lows, highs = bootstrapped(of_weights, n, seed, of)
    value, low, high = float(values_[0]), float(lows[0]), float(highs[0])
    if value == 1:
        low = ((1 - LEVEL) / 2) ** (1 / asked)
    return Alpha(metric=metric, estimate=Estimate(value=value, low=low, high=high, n=asked), units=n)


def _undefined(values: Array, paired: int, scale: Array) -> str:
    if values.size == 0 or np.isnan(values).all():
        return "nothing is rated"
    if not paired:
        return "no pair has two ratings, so there is nothing that could agree"
    if len(scale) < 2:
        return "everybody says the same of every pair, so that chance alone would always agree"
    return ""


def _coincidences(paired: Array, scale: Array) -> Array:
    """For each unit how often two values stand beside each other: in all ordered pairs of its m raters, by m - 1."""
    counts: Array = (paired[:, :, None] == scale).sum(axis=1).astype(float)
    beside = counts[:, :, None] * counts[:, None, :]
    places = np.arange(len(scale))
    beside[:, places, places] -= counts
    tables: Array = beside / (counts.sum(axis=1) - 1)[:, None, None]
    return tables


def _alphas(tables: Array, scale: Array, metric: Metric) -> Array:
    """Alpha of each table of coincidences. It is 1 where all values drawn are alike: they agree."""
    of_value = tables.sum(axis=2)
    n = of_value.sum(axis=1)
    apart = _differences(of_value, scale, metric)
    observed = (tables * apart).sum(axis=(1, 2))
    by_chance = (of_value[:, :, None] * of_value[:, None, :] * apart).sum(axis=(1, 2))
    share: Array = np.divide((n - 1) * observed, by_chance, out=np.zeros_like(n), where=by_chance > 0)
    return 1 - share


def _differences(of_value: Array, scale: Array, metric: Metric) -> Array:
    """The squared differences between values: (tables, values, values)."""
    if metric == "nominal":
        return np.broadcast_to(scale[:, None] != scale, (len(of_value), len(scale), len(scale))).astype(float)
    if metric == "interval":
        return np.broadcast_to((scale[:, None] - scale) ** 2, (len(of_value), len(scale), len(scale)))
    ranks = of_value.cumsum(axis=1) - of_value / 2  # the middle of each value's ranks
    squared: Array = (ranks[:, :, None] - ranks[:, None, :]) ** 2
    return squared
