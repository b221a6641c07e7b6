"""Who won a pair: the rule, and nothing else. A win needs both orders; several raters need a majority."""

from __future__ import annotations

from collections import Counter

from .types import Judged, Judgement, Outcome

OUTCOMES: tuple[Outcome, ...] = ("win", "tie", "lose")


def complete(judged: Judged) -> list[list[Judgement]]:
    """The judgements of each rater who has a verdict in every order asked for."""
    by_rater: dict[str, list[Judgement]] = {}
    for judgement in judged.judgements:
        if judgement.level is not None:
            by_rater.setdefault(judgement.rater, []).append(judgement)
    return [given for given in by_rater.values() if len({each.as_a for each in given}) >= judged.orders]


def alone(judgement: Judgement) -> Outcome:
    """The outcome by this one judgement, which has a verdict."""
    score = judgement.score
    assert score is not None, "there is a verdict"
    return "win" if score > 0 else "lose" if score < 0 else "tie"


def by_rater(judged: Judged) -> list[Outcome]:
    """The outcome by each rater: what both orders agree on, otherwise a tie."""
    return [_agreed([alone(judgement) for judgement in given]) for given in complete(judged)]


def outcome(judged: Judged) -> Outcome | None:
    """The outcome of a pair. None if it is missing: no rater has a verdict in every order.

    Of several raters the majority decides. Without a majority it is a tie.
    """
    if judged.pair.identical:
        return "tie"
    outcomes = by_rater(judged)
    if not outcomes:
        return None
    most, votes = Counter(outcomes).most_common(1)[0]
    return most if 2 * votes > len(outcomes) else "tie"


def _agreed(outcomes: list[Outcome]) -> Outcome:
    return outcomes[0] if len(set(outcomes)) == 1 else "tie"
