"""The outcomes of a comparison as a file of scores that Inspect AI's `precomputed_scores` reads. Needs no Inspect AI.

Each record has the `id` of a question, which is the id of its sample in an exported log and in a benchmark's task. Its
`value` is 1 for a win of the candidate, 0.5 for a tie and 0 for a loss. A pair without an outcome makes no record, so
its sample stays unscored: missing is no tie.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...data.data_card import Count
from ...data.writers import writer
from ...errors import InputError
from ..pairwise.types import Judged

JUDGED = "judged.jsonl"  # in the folder of a comparison
SUFFIXES = (".json", ".jsonl")
VALUES = {"win": 1.0, "tie": 0.5, "lose": 0.0}


def export_ratings(comparison: Path, out: Path) -> Count:
    """Writes the outcomes in the folder of a comparison. Returns how many records there are and what was left out.

    If more than two runs were compared, a value is a dict with one number for each pair of runs. Raises InputError.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"--out {out}: wanted a name that ends in .json or .jsonl for --format ratings")
    if out.exists():
        raise InputError(f"{out} is there already; give another --out")
    records, count = _records(comparison), Count()
    several = len({name for values in records.values() for name in values}) > 1
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with writer(out) as write:
            for question, values in records.items():
                found = {name: each for name, each in values.items() if each["outcome"] in VALUES}
                count.left_out["no outcome"] += len(values) - len(found)
                if not found:
                    continue
                count.rows += 1
                count.kinds.update(each["outcome"] for each in found.values())
                write(_record(question, found, several))
    except OSError as error:
        raise InputError(f"can't write {error.filename or out}: {error.strerror}") from None
    if not count.rows:
        raise InputError(f"{comparison} holds no outcome; `matrix-align compare` makes them")
    count.left_out = +count.left_out
    return count


def _records(comparison: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """By question and by the two runs: the outcome, and what was said."""
    path = comparison / JUDGED
    records: dict[str, dict[str, dict[str, Any]]] = {}
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    row = json.loads(line)
                    names = f"{row.pop('candidate')} over {row.pop('baseline')}"
                    outcome, judged = row.pop("outcome"), Judged.model_validate(row)
                except (ValueError, KeyError, ValidationError):
                    raise InputError(f"{path}:{number} is no pair of a comparison; compare again") from None
                said = {"outcome": outcome, "judged": judged}
                records.setdefault(judged.pair.question_id, {})[names] = said
    except OSError as error:
        raise InputError(
            f"can't read {path} ({error.strerror}); --format ratings takes a folder that `matrix-align compare` made"
        ) from None
    return records


def _record(question: str, found: dict[str, dict[str, Any]], several: bool) -> dict[str, Any]:
    values = {name: VALUES[each["outcome"]] for name, each in found.items()}
    said = [
        f"{judgement.rater or 'a rater'}, {judgement.as_a} first: {judgement.reason}"
        for each in found.values()
        for judgement in each["judged"].judgements
        if judgement.reason
    ]
    outcomes = {
        name: {
            "outcome": each["outcome"],
            "levels": [judgement.score for judgement in each["judged"].judgements],
        }
        for name, each in found.items()
    }
    value = values if several else next(iter(values.values()))
    return {"id": question, "value": value, "explanation": "\n".join(said), "metadata": outcomes}
