"""What the ratings say: who wins by category, how far raters agree, with a judge too, and how far to trust each rater.

Reads the ratings and puts the figures together. Gold items and repeated showings are no part of who wins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...types import Frozen
from ..pairwise.compare import results, wins
from ..pairwise.judge import own_judge
from ..pairwise.results import Results, Wins
from ..pairwise.types import Judged, Pairing
from .alpha import Alpha, alpha
from .folder import RATINGS, described
from .judge import Agreement, agreement
from .raters import Rater, doubts, of_raters
from .store import Ratings
from .types import Item, Rated, Showing


class Report(Frozen):
    """All figures. `results` are those of a comparison. `by_harm` has the pairs that raters gave a kind of harm, by the
    kind that most of them gave, over all comparisons. `judge` is None if no comparison is given.
    """

    results: Results
    by_harm: dict[str, Wins]
    alphas: tuple[Alpha, ...]
    raters: tuple[Rater, ...]
    judge: Agreement | None = None


class Read(Frozen):
    """What is in the file, in the form of a comparison. `judged` has every pair, by the comparison's number."""

    pairings: tuple[Pairing, ...]
    items: dict[str, Item]
    shown: tuple[tuple[str, Showing], ...]
    rated: tuple[Rated, ...]
    judged: tuple[tuple[Judged, ...], ...]


def read(folder: Path, without: Sequence[str] = ()) -> Read:
    """The ratings in `folder`, but for those of raters `without`. Raises InputError for a name that is no rater's."""
    described(folder)
    with Ratings(folder / RATINGS, read_only=True) as ratings:
        pairings, items, shown = ratings.pairings(), ratings.items(), ratings.all_showings()
        rated, names = ratings.rated(), {rater.name for rater in ratings.raters()}
    if unknown := [name for name in without if name not in names]:
        raise InputError(
            f"--without {unknown[0]}: there is no such rater; there are {', '.join(sorted(names)) or 'none'}"
        )
    shown, rated = [one for one in shown if one[0] not in without], [one for one in rated if one.rater not in without]
    given: dict[str, list[Rated]] = {}
    for each in rated:
        if not each.showing.again:
            given.setdefault(each.showing.item, []).append(each)
    judged = [
        tuple(
            Judged(pair=item.pair, judgements=tuple(each.judgement() for each in given.get(item.id, ())), orders=1)
            for item in items
            if item.comparison == number
        )
        for number in range(len(pairings))
    ]
    pairs = [
        pairing.model_copy(update={"pairs": tuple(each.pair for each in group)})
        for pairing, group in zip(pairings, judged, strict=True)
    ]
    return Read(
        pairings=tuple(pairs),
        items={item.id: item for item in items},
        shown=tuple(shown),
        rated=tuple(rated),
        judged=tuple(judged),
    )


def figures(there: Read, compared: Path | None = None, seed: int = 0) -> Report:
    """The figures of what was read. `compared` is the folder of a comparison by a judge."""
    raters = of_raters(there.items, there.shown, there.rated, seed)
    runs = {run.name: run for pairing in there.pairings for run in (pairing.baseline, pairing.candidate)}
    named = [rater.name for rater in raters if rater.rated]
    warnings = [warning for name in named for warning in own_judge(name, "", list(runs.values()))] + doubts(raters)
    return Report(
        results=results(list(zip(there.pairings, there.judged, strict=True)), named, warnings, seed),
        by_harm=_by_harm(there, seed),
        alphas=_alphas(there, seed),
        raters=raters,
        judge=agreement([each for group in there.judged for each in group], compared, seed) if compared else None,
    )


def _alphas(there: Read, seed: int) -> tuple[Alpha, ...]:
    """Nominal alpha of the outcomes win, tie and lose; ordinal and interval alpha of the five levels."""
    names = sorted({each.rater for each in there.rated})
    counted = [item.id for item in there.items.values() if item.kind == "pair"]
    levels = np.full((len(counted), len(names)), np.nan)
    places = {id: place for place, id in enumerate(counted)}
    for each in there.rated:
        if not each.showing.again and each.showing.item in places:
            levels[places[each.showing.item], names.index(each.rater)] = each.score
    return (
        alpha(np.sign(levels), "nominal", seed),
        alpha(levels, "ordinal", seed),
        alpha(levels, "interval", seed),
    )


def _by_harm(there: Read, seed: int) -> dict[str, Wins]:
    tags: dict[str, Counter[str]] = {}
    for each in there.rated:
        if each.given.harm and not each.showing.again:
            tags.setdefault(each.showing.item, Counter())[each.given.harm] += 1
    judged = {(number, each.pair.id): each for number, group in enumerate(there.judged) for each in group}
    groups: dict[str, list[Judged]] = {}
    for item in there.items.values():
        if item.id in tags and item.comparison is not None:
            harm = min(tags[item.id], key=lambda name: (-tags[item.id][name], name))
            groups.setdefault(harm, []).append(judged[item.comparison, item.pair.id])
    return {harm: wins(groups[harm], seed) for harm in sorted(groups)}
