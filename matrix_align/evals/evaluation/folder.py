"""What an evaluation's folder was made with, in `evaluation.toml`. The same settings continue it; others are refused.

Owns what may be added later: benchmarks, methods and judges. Knows no score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from ... import provenance
from ...data.split import digest_of
from ...generate.run import setup_from
from ...methods import METHODS, Setup
from ...store import holds_calls
from ..benchmarks import Item
from .grid import ANSWERS

DESCRIBED = "evaluation.toml"
NOTE = "How this evaluation is made. `matrix-align evaluate --out` with this folder continues it."
GROWING = ("benchmarks", "judges")  # tables to which names may be added


def described(out: Path) -> provenance.Tables:
    """The tables of evaluation.toml; none if `out` holds no evaluation. Raises InputError if it can't be read."""
    return provenance.tables_in(out / DESCRIBED)


def setups_in(out: Path) -> dict[str, Setup]:
    """The setups of the evaluation in `out`, by the names of their methods. Raises InputError if one can't be used."""
    tables = described(out)
    return {
        name: setup_from(out / DESCRIBED, method, _settings(tables[name]), tables.get("sampling", {}))
        for name, method in METHODS.items()
        if name in tables
    }


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


def _settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """A method's settings in its table, which also has the digest of its prompts."""
    return {name: value for name, value in table.items() if name != "prompts"}
