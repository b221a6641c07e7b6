"""Shares and means with their intervals. SciPy does the mathematics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True)
class Share:
    """`part` of `n`, with the bounds of a 95 % interval (Wilson 1927)."""

    part: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.part:.0%} ({self.low:.0%} to {self.high:.0%}) of {self.n}" if self.n else "not measured"


def share(hits: Sequence[bool]) -> Share:
    from scipy.stats import binomtest

    if not hits:
        return Share(0.0, 0.0, 1.0, 0)
    bounds = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return Share(sum(hits) / len(hits), float(bounds.low), float(bounds.high), len(hits))


def difference(before: Sequence[bool], after: Sequence[bool], confidence: float = 0.95) -> Share:
    """The mean difference, after minus before, with the bounds of its interval (Student's t), within -1 and 1.

    Both sequences are about the same things in the same order. If all differences are alike, that does not prove that
    further ones would be. The interval is then as wide as if one pair differed.
    """
    from scipy.stats import t

    if len(before) != len(after):
        raise ValueError(f"{len(before)} and {len(after)} are no pairs")
    n = len(before)
    differences = [int(b) - int(a) for a, b in zip(before, after, strict=True)]
    mean = sum(differences) / max(n, 1)
    if n < 2:
        return Share(mean, -1.0, 1.0, n)
    spread = sum((value - mean) ** 2 for value in differences) / (n - 1) or 1 / n
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * sqrt(spread / n)
    return Share(mean, max(-1.0, mean - half), min(1.0, mean + half), n)


@dataclass(frozen=True)
class Mean:
    """The mean of `n` values, with the bounds of a 95 % interval (Student's t)."""

    value: float
    low: float
    high: float
    n: int


def mean(values: Sequence[float], least: float, most: float) -> Mean:
    """The mean of values that can't lie outside `least` and `most`, and nor does its interval.

    If all values are alike, that does not prove that further ones would be. The interval is then as wide as if one of
    them lay as far from the others as the scale is long.
    """
    from scipy.stats import t

    n = len(values)
    if not n:
        return Mean(least, least, most, 0)
    middle = sum(values) / n
    if n < 2:
        return Mean(middle, least, most, n)
    spread = sum((value - middle) ** 2 for value in values) / (n - 1) or (most - least) ** 2 / n
    half = float(t.ppf(0.975, n - 1)) * sqrt(spread / n)
    return Mean(middle, max(least, middle - half), min(most, middle + half), n)
