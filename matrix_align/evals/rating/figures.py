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
    """All figures. `results` are those of a comparison. `by_harm` has for each of its comparisons the pairs that raters
    gave a kind of harm, by the kind that most of them gave. `judge` is None if no comparison is given.
    """

    results: Results
    by_harm: tuple[dict[str, Wins], ...]
    alphas: tuple[Alpha, ...]
    raters: tuple[Rater, ...]
    judge: Agreement | None = None


class Read(Frozen):
    """What is in the file, in the form of a comparison. `judged` has every pair, by the comparison's number.

    `without` are raters whose ratings are left out. `shown` has what they are shown too: it is what went out.
    """

    pairings: tuple[Pairing, ...]
    items: dict[str, Item]
    shown: tuple[tuple[str, Showing], ...]
    rated: tuple[Rated, ...]
    judged: tuple[tuple[Judged, ...], ...]
    without: tuple[str, ...] = ()


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
    rated = [one for one in rated if one.rater not in without]
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
        without=tuple(without),
    )


def figures(there: Read, compared: Path | None = None, seed: int = 0) -> Report:
    """The figures of what was read. `compared` is the folder of a comparison by a judge."""
    shown = [one for one in there.shown if one[0] not in there.without]
    raters = of_raters(there.items, shown, there.rated, seed)
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
    counted = [item for item in there.items.values() if item.kind == "pair"]
    questions = [item.pair.question_id for item in counted]
    levels = np.full((len(counted), len(names)), np.nan)
    places = {item.id: place for place, item in enumerate(counted)}
    for each in there.rated:
        if not each.showing.again and each.showing.item in places:
            levels[places[each.showing.item], names.index(each.rater)] = each.score
    return (
        alpha(np.sign(levels), "nominal", seed, questions),
        alpha(levels, "ordinal", seed, questions),
        alpha(levels, "interval", seed, questions),
    )


def _by_harm(there: Read, seed: int) -> tuple[dict[str, Wins], ...]:
    tags: dict[str, Counter[str]] = {}
    for each in there.rated:
        if each.given.harm and not each.showing.again:
            tags.setdefault(each.showing.item, Counter())[each.given.harm] += 1
    kinds = {
        (there.items[id].comparison, there.items[id].pair.id): min(given, key=lambda name: (-given[name], name))
        for id, given in tags.items()
    }
    found = []
    for number, group in enumerate(there.judged):
        of_kind: dict[str, list[Judged]] = {}
        for judged in group:
            if kind := kinds.get((number, judged.pair.id)):
                of_kind.setdefault(kind, []).append(judged)
        found.append({kind: wins(of_kind[kind], seed) for kind in sorted(of_kind)})
    return tuple(found)
