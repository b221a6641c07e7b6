"""What an evaluation's folder was made with, in `evaluation.toml`. The same settings continue it; others are refused.

Owns what may be added later: benchmarks, methods and judges. Knows no score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from ... import provenance
from ...data.split import digest_of
from ...methods import Setup
from ...store import holds_calls
from ..benchmarks import Item
from .grid import ANSWERS

DESCRIBED = "evaluation.toml"
NOTE = "How this evaluation is made. `matrix-align evaluate --out` with this folder continues it."
GROWING = ("benchmarks", "judges")  # tables to which names may be added


def settle(
    out: Path,
    model: tuple[str, str, str],
    limit: int | None,
    questions: Mapping[str, Sequence[Item]],
    setups: Sequence[Setup],
    judge: tuple[str, str] | None,
) -> str:
    """Notes how the evaluation in `out` is made, and returns the day on which it began, as YYYY-MM-DD.

    `model` is its name, its digest and where its weights came from, `judge` a name and a digest. Raises InputError with
    the differences if `out` holds an evaluation with other settings.
    """
    name, digest, source = model
    mine: provenance.Tables = {
        "model": {"name": name, "digest": digest},
        "evaluation": {"limit": limit},
        "benchmarks": {name: digest_of([item.question for item in items]) for name, items in questions.items()},
        "sampling": setups[0].sampling.model_dump(mode="json"),
        "judges": dict([judge] if judge else []),
    }
    for setup in setups:
        settings = setup.settings.model_dump(mode="json")
        mine[setup.method.name] = {"prompts": setup.method.digest, **settings}
    path = out / DESCRIBED
    before = provenance.tables_in(path)
    if before and any(holds_calls(record) for record in (out / ANSWERS).glob("*/*/record.db")):
        provenance.settle(path, _shared(mine, before), NOTE, "evaluation")
        mine = {part: {**before.get(part, {}), **mine.get(part, {})} for part in {**before, **mine}}
        provenance.settle(path, mine, NOTE, "evaluation", empty=True)
    else:
        beside: provenance.Tables = {"model": {"source": source or None}, "evaluation": {"began": f"{date.today()}"}}
        provenance.settle(path, mine, NOTE, "evaluation", empty=True, beside=beside)
    return str(provenance.tables_in(path)["evaluation"]["began"])


def _shared(mine: provenance.Tables, before: provenance.Tables) -> provenance.Tables:
    """The part of `mine` that was settled before, and is to be the same."""
    return {
        part: {name: value for name, value in fields.items() if part not in GROWING or name in before[part]}
        for part, fields in mine.items()
        if part in before
    }
