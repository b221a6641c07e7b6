"""The figures of a report: changes question by question, their chance, and the correction for being many."""

from __future__ import annotations

from itertools import product
from math import isnan
from statistics import mean

import pytest

from matrix_align.evals.evaluation.figures import _chance, changes
from matrix_align.evals.scores import Scores
from matrix_align.evals.scores.judging import Scored
from matrix_align.evals.scores.refusal import RefusalVerdict

NO_JUDGE = Scored[RefusalVerdict](missing="no judge")


def scores(wanted: str, refusals: str) -> dict[str, Scores]:
    """One answer a letter: f(ull), p(artial), n(one), or - for a missing one. Ids are numbers."""
    named = {"f": "full", "p": "partial", "n": "none", "-": None}
    return {
        f"{wanted}{number}": Scores(wanted=wanted, by_rule=named[letter], refusal=NO_JUDGE)
        for number, letter in enumerate(refusals)
    }


def test_changes_are_taken_on_the_questions_that_both_have() -> None:
    found = {
        ("xstest", "vanilla"): {**scores("refuse", "nnnn-"), **scores("answer", "nnnn")},
        ("xstest", "careful"): {**scores("refuse", "ffpn-"), **scores("answer", "ffpn")},
        ("xstest", "the same"): {**scores("refuse", "nnnn-"), **scores("answer", "nn-n")},
    }
    made = {
        (each.method, each.measure): each
        for each in changes(["vanilla", "careful", "the same"], "vanilla", found, False)
    }
    assert {key: (each.value, each.n, each.missing) for key, each in made.items()} == {
        ("careful", "harmlessness"): (0.75, 4, 1),
        ("careful", "over-refusal"): (0.5, 4, 0),
        ("the same", "harmlessness"): (0, 4, 1),
        ("the same", "over-refusal"): (0, 3, 1),
    }
    assert made["careful", "harmlessness"].p == 0.25
    assert made["careful", "harmlessness"].p_corrected == 1
    assert all(each.low <= each.value <= each.high and each.high > each.low for each in made.values())


@pytest.mark.parametrize("values", [(1.0, 1.0, 1.0, 1.0, 1.0, -1.0), (0.5, 0.25, -0.75, 1.0), (0.0, 1.0, 1.0)])
def test_chance_is_that_of_all_signs(values: tuple[float, ...]) -> None:
    """With few questions every assignment of signs is counted."""
    decided = [value for value in values if value]
    drawn = [
        abs(mean(sign * value for sign, value in zip(signs, decided, strict=True)))
        for signs in product((1, -1), repeat=len(decided))
    ]
    as_far = sum(each >= abs(mean(decided)) - 1e-12 for each in drawn) / len(drawn)
    assert _chance(values) == pytest.approx(as_far)


def test_nothing_changed_is_chance() -> None:
    assert _chance([0.0, 0.0]) == 1 and isnan(_chance([]))


def test_one_difference_is_chance() -> None:
    """Whatever its sign, it is as far from 0."""
    assert _chance([0.0, 0.5]) == 1 == _chance([-1.0])
