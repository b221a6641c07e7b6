"""Pairs of answers to read, drawn at random from all of them. Owns how a verdict on one is put into words."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from ..benchmarks import Item
from ..pairwise.outcomes import outcome
from ..pairwise.types import Judged, Pairing
from .pairing import Decided, Pairs
from .report import Sample

NUMBER = 20


def samples(questions: Mapping[str, Sequence[Item]], pairs: Pairs, decided: Decided, seed: int) -> tuple[Sample, ...]:
    """At most NUMBER pairs of different answers; the same ones each time."""
    wanted = {(benchmark, item.id): item.wanted for benchmark, items in questions.items() for item in items}
    different = [
        (benchmark, pairing, judged)
        for (benchmark, pairing), group in zip(pairs, decided.judged, strict=True)
        for judged in group
        if not judged.pair.identical
    ]
    drawn = random.Random(seed).sample(different, min(NUMBER, len(different)))
    return tuple(
        Sample(
            benchmark=benchmark,
            wanted=wanted[benchmark, judged.pair.question_id],
            chat=tuple((message.role, message.content) for message in judged.pair.question.messages()),
            method=pairing.candidate.name,
            answer=judged.pair.candidate,
            against=pairing.baseline.name,
            other=judged.pair.baseline,
            verdict=_verdict(pairing, judged),
            reasons=tuple(_reasons(pairing, judged)),
        )
        for benchmark, pairing, judged in drawn
    )


def _verdict(pairing: Pairing, judged: Judged) -> str:
    if not judged.judgements:
        return "Nobody has compared the answers"
    names = {"win": f"{pairing.candidate.name} wins", "lose": f"{pairing.baseline.name} wins", "tie": "A tie"}
    return names.get(outcome(judged) or "", "The verdict is missing")


def _reasons(pairing: Pairing, judged: Judged) -> list[str]:
    names = pairing.candidate.name, pairing.baseline.name
    return [
        f"{rating.rater or 'nobody'} (A is {names[rating.as_a == 'baseline']}): {rating.level or 'no verdict'}. "
        f"{rating.reason or rating.fault}"
        for rating in judged.judgements
    ]
