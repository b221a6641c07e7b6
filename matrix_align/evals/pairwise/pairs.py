"""Contestants and their pairs: what of two runs can be compared, and where every other question went.

Reads runs of `generate`. Knows no judge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from ...errors import InputError
from ...generate.run import Run
from ...types import Question
from ..answers import id_of
from .types import Answered, Contestant, LeftOut, Pair, Pairing, Unanswered, Why


def contestant(folder: Path, name: str = "") -> Contestant:
    """The run in `folder`. Its name is the folder's, unless one is given. Raises InputError and StoreError."""
    if not (tables := Run.described(folder)):
        raise InputError(f"{folder} holds no run; wanted a folder that `matrix-align generate --out` made")
    model = tables.get("model", {})
    answers, unanswered = {}, {}
    with Run.there(folder) as run:
        for answer, category, _ in run.inputs.answers():
            id, text = id_of(answer.question), answer.text or ""
            if text.strip():
                answers[id] = Answered(question=answer.question, category=category, text=text)
            else:
                unanswered[id] = Unanswered(question=answer.question, why="empty")
        for question, state, reason in run.inputs.unanswered():
            why: Why = "failed" if state == "failed" else "not answered yet"
            unanswered[id_of(question)] = Unanswered(question=question, why=why, detail=reason)
        method = run.setup.method.name
    return Contestant(
        name=name or folder.resolve().name,
        model=str(model.get("name", "")),
        digest=str(model.get("digest", "")),
        method=method,
        answers=answers,
        unanswered=unanswered,
    )


def contestants(folders: Sequence[Path]) -> list[Contestant]:
    """The runs in these folders. Runs whose folders have one name are called by their whole paths."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("a run is given twice; wanted different ones")
    names = [folder.resolve().name for folder in folders]
    return [
        contestant(folder, name if names.count(name) == 1 else str(folder))
        for folder, name in zip(folders, names, strict=True)
    ]


def pairings(runs: Sequence[Contestant], all_pairs: bool = False) -> list[Pairing]:
    """Every run against the first; with `all_pairs` against every earlier one."""
    if all_pairs:
        return [pairing(later, earlier) for earlier, later in combinations(runs, 2)]
    return [pairing(run, runs[0]) for run in runs[1:]]


def pairing(candidate: Contestant, baseline: Contestant) -> Pairing:
    """The pairs of two contestants, in the order of the baseline's answers, and the questions that make none."""
    pairs = tuple(
        Pair(
            id=_pair_id(answered.question, other.text, answered.text),
            question_id=id,
            category=answered.category or other.category,
            question=answered.question,
            candidate=other.text,
            baseline=answered.text,
        )
        for id, answered in baseline.answers.items()
        if (other := candidate.answers.get(id))
    )
    paired = {pair.question_id for pair in pairs}
    asked = {id: None for run in (baseline, candidate) for of in (run.answers, run.unanswered) for id in of}
    left_out = tuple(_left_out(id, candidate, baseline) for id in asked if id not in paired)
    return Pairing(candidate=candidate, baseline=baseline, pairs=pairs, left_out=left_out)


def _left_out(id: str, candidate: Contestant, baseline: Contestant) -> LeftOut:
    """Why a question makes no pair. What is wrong with the baseline's answer goes first."""
    for run in (baseline, candidate):
        if lacking := run.unanswered.get(id):
            return LeftOut(
                question_id=id, question=lacking.question, run=run.name, why=lacking.why, detail=lacking.detail
            )
    has, lacks = (candidate, baseline) if id in candidate.answers else (baseline, candidate)
    return LeftOut(question_id=id, question=has.answers[id].question, run=lacks.name, why="only in one run")


def _pair_id(question: Question, candidate: str, baseline: str) -> str:
    content = repr((question.model_dump_json(), candidate, baseline))
    return hashlib.sha256(content.encode()).hexdigest()[:16]
