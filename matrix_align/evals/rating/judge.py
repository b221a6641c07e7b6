"""How far the raters agree with a judge: the verdicts of a comparison, pair by pair.

Reads the folder of a `compare`. Only pairs with the same texts count: a pair is known by its question and both answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...types import Frozen
from ..pairwise.outcomes import OUTCOMES, outcome
from ..pairwise.results import Estimate
from ..pairwise.statistics import kappa, means
from ..pairwise.types import Judged, Outcome

JUDGED = "judged.jsonl"


class Agreement(Frozen):
    """How far the raters' outcomes are the judge's. `kappa` is agreement beyond chance (Cohen 1960).

    `table` counts pairs: a row is an outcome of the raters, a column one of the judge; each win, tie, lose.
    """

    judge: str
    agreement: Estimate
    kappa: Estimate
    table: tuple[tuple[int, int, int], ...]


def agreement(judged: Sequence[Judged], comparison: Path, seed: int = 0) -> Agreement:
    """Of the pairs that both sides have an outcome of. Raises InputError if there is none, or no comparison."""
    judge, verdicts = _verdicts(comparison)
    found: list[tuple[Outcome, Outcome]] = []
    questions: list[str] = []
    for each in judged:
        said = None if each.pair.identical else outcome(each)
        if said and (other := verdicts.get(each.pair.id)):
            found.append((said, other))
            questions.append(each.pair.question_id)
    if not found:
        raise InputError(
            f"{comparison} has no verdict on a pair that is rated here; wanted a comparison of the same runs"
        )
    tables = np.array([[[(row, column) == pair for column in OUTCOMES] for row in OUTCOMES] for pair in found], float)
    return Agreement(
        judge=judge,
        agreement=means([[one == other for one, other in found]], 0, 1, seed, questions)[0],
        kappa=kappa(tables, seed, questions),
        table=tuple(tuple(int(count) for count in row) for row in tables.sum(axis=0)),
    )


def _verdicts(comparison: Path) -> tuple[str, dict[str, Outcome]]:
    """The judge's name, and its outcome of each pair by the pair's id. The id tells the candidate's text too."""
    path = comparison / JUDGED
    names: dict[str, None] = {}
    outcomes: dict[str, Outcome] = {}
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            row = json.loads(line)
            each = Judged.model_validate({name: row[name] for name in Judged.model_fields if name in row})
            names |= dict.fromkeys(said.rater for said in each.judgements if said.rater)
            if said := outcome(each):
                outcomes[each.pair.id] = said
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}; wanted a folder that `compare --out` made") from None
    except (ValueError, KeyError):
        raise InputError(f"{path}:{number} is no pair of a comparison; make the comparison again") from None
    return ", ".join(names) or "the judge", outcomes
