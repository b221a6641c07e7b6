"""What is known of each rater: how much and how fast they rate, and whether they agree with themselves and with gold.

These figures tell whose ratings to read before they are counted. Gold items and repeated showings count here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ...types import Frozen
from ..pairwise.results import Estimate
from ..pairwise.statistics import means
from ..statistics import Share, share
from .types import Item, Rated, Showing

FEW_RIGHT = 0.6  # share of gold items right, below which a rater is warned of; by chance a third to a half


class Rater(Frozen):
    """One rater's figures. `seconds` is the median from page to rating; None if nothing is rated.

    `again` is the share of repeated pairs of which they said the same twice, with the sides exchanged; `gold` the share
    of gold items of which they named the better answer. Either is None if they rated none. `position` is their net
    preference for A, from -1 to 1.
    """

    name: str
    rated: int
    shown: int
    seconds: float | None
    again: Share | None
    gold: Share | None
    same: Estimate
    position: Estimate


def of_raters(
    items: dict[str, Item], shown: Sequence[tuple[str, Showing]], rated: Sequence[Rated], seed: int
) -> tuple[Rater, ...]:
    """The figures of every rater who is shown something, in the order of `shown`."""
    names = dict.fromkeys(name for name, _ in shown)
    return tuple(
        _rater(
            name, sum(name == other for other, _ in shown), [each for each in rated if each.rater == name], items, seed
        )
        for name in names
    )


def _rater(name: str, shown: int, rated: Sequence[Rated], items: dict[str, Item], seed: int) -> Rater:
    first = {each.showing.item: each for each in rated if not each.showing.again}
    twice = [(first[each.showing.item], each) for each in rated if each.showing.again and each.showing.item in first]
    golden = [each.score > 0 for each in rated if items[each.showing.item].kind == "gold"]
    pairs = [each for each in first.values() if items[each.showing.item].kind == "pair"]
    questions = [items[each.showing.item].pair.question_id for each in pairs]
    for_a = [_sign(each.score) * (1 if each.showing.as_a == "candidate" else -1) for each in pairs]
    return Rater(
        name=name,
        rated=len(rated),
        shown=shown,
        seconds=median(each.given.seconds for each in rated) if rated else None,
        again=share([_sign(one.score) == _sign(other.score) for one, other in twice]) if twice else None,
        gold=share(golden) if golden else None,
        same=means([[each.score == 0 for each in pairs]], 0, 1, seed, questions)[0],
        position=means([for_a], -1, 1, seed, questions)[0],
    )


def _sign(score: int) -> int:
    return (score > 0) - (score < 0)


def doubts(raters: Sequence[Rater]) -> list[str]:
    """A warning for each rater who gets too few gold items right."""
    return [
        f"{rater.name} named the better answer in {rater.gold.part:.0%} of {rater.gold.n} gold items; read their "
        "ratings before they count (--without leaves a rater out)"
        for rater in raters
        if rater.gold and rater.gold.part < FEW_RIGHT
    ]
