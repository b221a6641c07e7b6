"""Krippendorff's alpha equals published worked examples, their intervals and an independent package."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest

from matrix_align.evals.pairwise.statistics import Array
from matrix_align.evals.rating.alpha import Metric, alpha

METRICS: tuple[Metric, ...] = ("nominal", "ordinal", "interval")

# A string for each rater, a character for each unit; a dot is no value.
# Krippendorff 2011, parts A (two raters, two values), B (two raters, five values) and C (four raters, gaps).
BINARY = ("0100000010", "1110010000")
LETTERS = ("112243335441", "212223335444")
FOUR = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
# Hayes and Krippendorff 2007: five raters, forty articles.
ARTICLES = (
    "112.001122.01311211000201001111223222221",
    "1130000.21102311121000302102111122222221",
    "203000222100221123001.30.1012202.2232.21",
    ".13....0.10022...31.103021122..122...12.",
    "2..0001.2....3112..0.0..2.0..20.2.2222.1",
)


def values(*raters: str) -> Array:
    """Units by raters."""
    return np.array([[float(value) if value != "." else np.nan for value in rater] for rater in raters]).T


@pytest.mark.parametrize(
    ("raters", "metric", "published"),
    [
        (BINARY, "nominal", 0.095),
        (LETTERS, "nominal", 0.692),
        (FOUR, "nominal", 0.743),
        (FOUR, "ordinal", 0.815),
        (FOUR, "interval", 0.849),
        (ARTICLES, "nominal", 0.4765),
        (ARTICLES, "ordinal", 0.7598),
    ],
)
def test_published_examples(raters: tuple[str, ...], metric: Metric, published: float) -> None:
    digits = len(str(published).partition(".")[2])
    assert round(alpha(values(*raters), metric).estimate.value, digits) == published


def test_published_interval() -> None:
    """The R package icr prints 0.435 to 1.00 for units resampled 1,000 times in Krippendorff's example C."""
    one = alpha(values(*FOUR), "nominal").estimate
    assert one.low == pytest.approx(0.435, abs=0.035), "each is known to about 0.015, from so few resamples"
    assert one.high == 1.0 and one.n == 11, "a unit with one value has no pair"


@pytest.mark.parametrize("metric", METRICS)
def test_equals_the_package(metric: Metric) -> None:
    drawn = np.random.default_rng(1)
    for raters, units, gaps in ((2, 30, 0.0), (3, 100, 0.2), (7, 40, 0.6)):
        truth = drawn.integers(-2, 3, (units, 1))
        rated = np.clip(truth + drawn.integers(-1, 2, (units, raters)), -2, 2).astype(float)
        rated[drawn.random(rated.shape) < gaps] = np.nan
        expected = krippendorff.alpha(rated.T, level_of_measurement=metric)
        assert alpha(rated, metric).estimate.value == pytest.approx(expected, abs=1e-9)


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Two raters who both know the truth of half of the units and guess otherwise: alpha is 1/4 in the long run."""
    drawn = np.random.default_rng(2)
    inside = 0
    for round in range(60):
        truth = drawn.integers(0, 2, (60, 1))
        rated = np.where(drawn.random((60, 2)) < 0.5, truth, drawn.integers(0, 2, (60, 2))).astype(float)
        one = alpha(rated, "nominal", seed=round).estimate
        inside += one.low <= 0.25 <= one.high
    assert 51 <= inside <= 60


def test_pairs_of_one_question_are_drawn_together() -> None:
    """Raters who agree on all pairs of one question or on none tell no more by three pairs than by one."""
    drawn = np.random.default_rng(4)
    truth = drawn.integers(0, 2, (60, 1))
    rated = np.where(drawn.random((60, 1)) < 0.5, truth, drawn.integers(0, 2, (60, 2))).astype(float)
    of = [f"question {number}" for number in range(60) for _ in range(3)]
    once, alone = alpha(rated, "nominal").estimate, alpha(np.repeat(rated, 3, axis=0), "nominal").estimate
    together = alpha(np.repeat(rated, 3, axis=0), "nominal", 0, of)
    assert (together.units, together.estimate.n) == (180, 60)
    assert (together.estimate.low, together.estimate.high) == pytest.approx((once.low, once.high), abs=0.01)
    assert alone.high - alone.low < 0.7 * (once.high - once.low)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("raters", "why"),
    [
        (("...", "..."), "nothing is rated"),
        (("12.", "..1"), "no pair has two ratings"),
        (("11.", "111"), "everybody says the same"),
        (("121",), "no pair has two ratings"),
    ],
)
def test_undefined_is_explained(raters: tuple[str, ...], why: str, metric: Metric) -> None:
    found = alpha(values(*raters), metric)
    assert why in found.undefined and found.estimate.n == 0 and str(found).startswith("undefined: ")


def test_full_agreement_proves_nothing_of_other_pairs() -> None:
    few, many = (alpha(values("12" * n, "12" * n), "nominal").estimate for n in (5, 50))
    assert few.value == many.value == 1 and 0.6 < few.low < 0.75 and 0.95 < many.low < 1
    assert alpha(values("1", "2"), "nominal").estimate.n == 1
