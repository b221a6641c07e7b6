"""Puts the figures together: pairs with what was said of them in, frozen results out. Asks nobody, prints nothing.

Every question of either run is counted once, whatever failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from math import nan
from statistics import median

import numpy as np

from ...types import shorten
from .outcomes import OUTCOMES, alone, by_rater, complete, outcome
from .results import Comparison, Counts, LengthControl, Orders, Raters, Rating, Results, Wins
from .statistics import Array, holm, kappa, means, sign_test
from .statistics_models import bradley_terry, connected, length_controlled
from .types import Judged, Judgement, LeftOut, Outcome, Pairing

ONE_SIDED = 0.9  # share of pairs in which one side is longer, from which on length can hardly be told from quality


def results(
    compared: Sequence[tuple[Pairing, Sequence[Judged]]],
    judges: Sequence[str],
    warnings: Sequence[str] = (),
    seed: int = 0,
) -> Results:
    """The figures of all pairings. `judges` are the names of the judge or of the raters."""
    each = [comparison(pairing, judged, seed) for pairing, judged in compared]
    corrected = holm([one.wins.p for one in each])
    comparisons = tuple(one.model_copy(update={"p_corrected": p}) for one, p in zip(each, corrected, strict=True))
    ratings, no_ratings, apart = _ratings(compared, seed)
    return Results(
        judges=tuple(judges),
        comparisons=comparisons,
        ratings=ratings,
        no_ratings=no_ratings,
        warnings=(*warnings, *apart),
    )


def comparison(pairing: Pairing, judged: Sequence[Judged], seed: int = 0) -> Comparison:
    """The figures of one pairing. `judged` has each of its pairs once. `p_corrected` is not corrected yet."""
    overall = wins(judged, seed)
    categories = sorted({each.pair.category for each in judged})
    many = len(categories) > 1
    return Comparison(
        candidate=pairing.candidate.name,
        baseline=pairing.baseline.name,
        counts=_counts(pairing, judged),
        wins=overall,
        by_category={
            name or "no category": wins([each for each in judged if each.pair.category == name], seed)
            for name in categories
            if many
        },
        orders=_orders(judged, seed),
        length=_length(judged, seed),
        raters=_raters(judged, seed),
        p_corrected=overall.p,
        faults=dict(Counter(_kind(said.fault) for each in judged for said in each.judgements if said.level is None)),
        left_out=tuple(_named(question) for question in pairing.left_out),
    )


def _kind(fault: str) -> str:
    """A fault without its details, which stand after a colon."""
    return fault.split(":")[0]


def _named(question: LeftOut) -> str:
    where = f"not in {question.run}" if question.why == "only in one run" else f"{question.why} in {question.run}"
    detail = f" ({shorten(question.detail, 100)})" if question.detail else ""
    return f"{where}{detail}: {shorten(question.question.text, 100)}"


def _counts(pairing: Pairing, judged: Sequence[Judged]) -> Counts:
    why = Counter(question.why for question in pairing.left_out)
    identical = sum(each.pair.identical for each in judged)
    missing = sum(outcome(each) is None for each in judged)
    return Counts(
        questions=len(judged) + len(pairing.left_out),
        judged=len(judged) - identical - missing,
        identical=identical,
        missing=missing,
        only_in_one=why["only in one run"],
        failed=why["failed"],
        not_answered=why["not answered yet"],
        empty=why["empty"],
    )


def _with_outcome(judged: Sequence[Judged]) -> list[tuple[Judged, Outcome]]:
    return [(each, decided) for each in judged if (decided := outcome(each))]


def wins(judged: Sequence[Judged], seed: int = 0) -> Wins:
    """Who won these pairs. Those without an outcome don't count."""
    decided = _with_outcome(judged)
    count = Counter(name for _, name in decided)
    shares = means([[name == wanted for _, name in decided] for wanted in OUTCOMES], 0, 1, seed)
    net = means([[(name == "win") - (name == "lose") for _, name in decided]], -1, 1, seed)[0]
    return Wins(
        n=len(decided),
        wins=count["win"],
        ties=count["tie"],
        losses=count["lose"],
        identical=sum(each.pair.identical for each, _ in decided),
        win=shares[0],
        tie=shares[1],
        lose=shares[2],
        net=net,
        margin=means([[_margin(each) for each, _ in decided]], -2, 2, seed)[0],
        p=sign_test(count["win"], count["lose"]) if decided else nan,
    )


def _margin(judged: Judged) -> float:
    scores = [said.score or 0 for given in complete(judged) for said in given]
    return sum(scores) / max(1, len(scores))


def _orders(judged: Sequence[Judged], seed: int) -> Orders:
    asked = [given for each in judged if not each.pair.identical and (given := complete(each))]
    for_first = [
        [(score > 0) - (score < 0) for said in group if (score := _of_first(said)) is not None]
        for group in ([said for one in given for said in one] for given in asked)
    ]
    position = means([[sum(group) / len(group) for group in for_first]], -1, 1, seed)[0]
    tables = [np.mean([_table(*_in_order(one)) for one in given], axis=0) for given in asked if len(given[0]) > 1]
    agreed = means([[float(np.trace(table)) for table in tables]], 0, 1, seed)[0]
    return Orders(position=position, agreement=agreed, kappa=kappa(np.array(tables).reshape(-1, 3, 3), seed))


def _of_first(said: Judgement) -> int | None:
    """How much better the answer is that was shown first."""
    return said.score if said.as_a == "candidate" or said.score is None else -said.score


def _in_order(given: Sequence[Judgement]) -> tuple[Outcome, Outcome]:
    """A rater's outcomes: with the candidate shown first, and with the baseline shown first."""
    by_side = {said.as_a: alone(said) for said in given}
    return by_side["candidate"], by_side["baseline"]


def _table(one: Outcome, other: Outcome) -> Array:
    table = np.zeros((len(OUTCOMES), len(OUTCOMES)))
    table[OUTCOMES.index(one), OUTCOMES.index(other)] = 1
    return table


def _length(judged: Sequence[Judged], seed: int) -> LengthControl:
    decided = _with_outcome(judged)
    won = [_share_won(name) for _, name in decided]
    longer_by = [len(each.pair.candidate) - len(each.pair.baseline) for each, _ in decided]
    net, effect = length_controlled(won, longer_by, seed)
    different = [difference > 0 for difference in longer_by if difference]
    longer = sum(different) / len(different) if different else nan
    words = [
        [len(text.split()) for text in texts]
        for texts in (
            [each.pair.candidate for each, _ in decided],
            [each.pair.baseline for each, _ in decided],
        )
    ]
    one_sided = different and not (1 - ONE_SIDED < longer < ONE_SIDED)
    return LengthControl(
        net=net,
        effect=effect,
        longer=longer,
        words=(median(words[0]), median(words[1])) if decided else (nan, nan),
        warning=f"one side is the longer one in {max(longer, 1 - longer):.0%} of the pairs that differ in length, so "
        "length and quality can hardly be told apart"
        if one_sided
        else "",
    )


def _share_won(name: Outcome) -> float:
    return {"win": 1.0, "tie": 0.5, "lose": 0.0}[name]


def _raters(judged: Sequence[Judged], seed: int) -> Raters | None:
    names = tuple(sorted({said.rater for each in judged for said in each.judgements if said.level}))
    if len(names) < 2:
        return None
    tables = [
        np.mean([_table(*two) for two in permutations(outcomes, 2)], axis=0)
        for each in judged
        if len(outcomes := by_rater(each)) > 1
    ]
    agreed = means([[float(np.trace(table)) for table in tables]], 0, 1, seed)[0]
    return Raters(names=names, agreement=agreed, kappa=kappa(np.array(tables).reshape(-1, 3, 3), seed))


def _ratings(
    compared: Sequence[tuple[Pairing, Sequence[Judged]]], seed: int
) -> tuple[tuple[Rating, ...], str, list[str]]:
    """The ratings; why there are none; and warnings about them."""
    names = list(dict.fromkeys(side.name for pairing, _ in compared for side in (pairing.baseline, pairing.candidate)))
    if len(names) < 3:
        return (), "", []
    who = [(names.index(pairing.candidate.name), names.index(pairing.baseline.name)) for pairing, _ in compared]
    outcomes = [
        {each.pair.question_id: _share_won(name) for each, name in _with_outcome(judged)} for _, judged in compared
    ]
    questions = sorted({id for column in outcomes for id in column})
    won = np.array([[column.get(id, np.nan) for column in outcomes] for id in questions]).reshape(-1, len(who))
    groups = connected(won, who, len(names))
    if len(set(groups)) > 1:
        apart = [name for name, group in zip(names, groups, strict=True) if group != groups[0]]
        return (), f"no chain of judged pairs leads from {names[0]} to {', '.join(apart)}", []
    if len(questions) < 2:
        return (), "one question is too few", []
    strong = connected(won, who, len(names), strongly=True)
    warnings = []
    if len(set(strong)) > 1:
        apart = [name for name, group in zip(names, strong, strict=True) if group != strong[0]]
        warnings.append(
            f"Bradley-Terry: between {names[0]} and {', '.join(apart)} one side won everything; nothing but the prior "
            "bounds the distance between their ratings"
        )
    estimates = bradley_terry(won, who, len(names), seed)
    ratings = tuple(Rating(name=name, rating=rating) for name, rating in zip(names, estimates, strict=True))
    return ratings, "", warnings
