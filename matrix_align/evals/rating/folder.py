"""The folder of a rating: `rating.toml` says what it was made with, `rating.db` holds everything else.

Owns what makes a design another one, and how raters are added to it. The pairs are those of the runs at the time: what
is rated does not change under its raters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import provenance
from ...errors import InputError
from ...types import counted
from ..pairwise.folder import made_with
from ..pairwise.pairs import contestants, pairings
from . import design
from .store import Ratings, usable
from .types import Item, Rater

DESCRIBED, RATINGS = "rating.toml", "rating.db"
NOTE = "What is rated here. `matrix-align rate new` made it; `matrix-align rate report` says what came of it."
OPTIONS = {
    "runs": "RUN",
    "made": "the RUNs' settings",
    "questions": "--limit",
    **{
        name: f"--{name.replace('_', '-')}" for name in ("all_pairs", "per_rater", "repeats", "gold", "seed", "by_name")
    },
}


@dataclass(frozen=True)
class Plan:
    """What is to be rated. `limit` is in questions, `per_rater` in pairs without gold items and repeats.

    `by_name`: whoever has the page's address may rate under a name of their own.
    """

    runs: Sequence[Path]
    all_pairs: bool = False
    limit: int | None = None
    per_rater: int | None = None
    repeats: int = 0
    gold: Path | None = None
    seed: int = 0
    by_name: bool = False


def new(folder: Path, plan: Plan, raters: Sequence[str]) -> tuple[list[Item], list[Rater]]:
    """Makes the rating in `folder`, or adds raters to it. Returns its items, and all its raters.

    The same plan leaves the design as it is. Another plan replaces a design of which nothing is rated yet, and gives
    its raters new links; afterwards it raises InputError.
    """
    names = [usable(name) for name in raters]
    with provenance.locked(folder, DESCRIBED):
        runs = contestants(plan.runs)
        golden = design.gold(plan.gold) if plan.gold else []
        what: dict[str, Any] = {
            "runs": [run.name for run in runs],
            "made": [_hashed(made_with(run)) for run in plan.runs],
            "all_pairs": plan.all_pairs,
            "questions": plan.limit or 0,
            "per_rater": plan.per_rater or 0,
            "repeats": plan.repeats,
            "gold": _hashed("".join(item.id for item in golden)) if golden else "",
            "seed": plan.seed,
            "by_name": plan.by_name,
        }
        tables: provenance.Tables = {"rating": what}
        with Ratings(folder / RATINGS) as ratings:
            names = [*(rater.name for rater in ratings.raters()), *names]
            if not names and not plan.by_name:
                raise InputError("nobody could rate: give --rater NAME for everybody who gets a link, or --by-name")
            if ratings.begun():
                provenance.settle(folder / DESCRIBED, tables, NOTE, "rating", options=OPTIONS, folder="DIR")
            elif not ratings.items() or provenance.tables_in(folder / DESCRIBED) != tables:
                couples = pairings(runs, plan.all_pairs)
                items = [*design.items(couples, plan.limit, plan.seed), *golden]
                pairs = sum(item.kind == "pair" for item in items)
                if not pairs:
                    raise InputError("these runs have no two different answers to one question, so nothing to rate")
                own = min(pairs, plan.per_rater or pairs)
                if plan.repeats > (most := design.repeatable(own)):
                    raise InputError(
                        f"--repeats {plan.repeats} is too many: a rater gets {counted(own, 'pair')}, and the first "
                        f"half can come again; give {most} at most"
                    )
                ratings.begin(couples, items)
                provenance.settle(folder / DESCRIBED, tables, NOTE, "rating", empty=True)
            known = {rater.name.casefold() for rater in ratings.raters()}
            for key, name in {name.casefold(): name for name in names}.items():
                if key not in known:
                    ratings.add_rater(name, plan.seed, plan.per_rater, plan.repeats)
            return ratings.items(), ratings.raters()


def joined(folder: Path, name: str) -> Rater:
    """A new rater who gives their own name. Raises InputError if the name can't be used."""
    what = described(folder)
    if not what["by_name"]:
        raise InputError("this rating has its own raters; open the link that you were sent")
    with Ratings(folder / RATINGS) as ratings:
        return ratings.add_rater(name, what["seed"], what["per_rater"] or None, what["repeats"])


def described(folder: Path) -> dict[str, Any]:
    """What the rating in `folder` was made with. Raises InputError if there is none."""
    what = provenance.tables_in(folder / DESCRIBED).get("rating")
    if not what or not (folder / RATINGS).exists():
        raise InputError(f"{folder} holds no rating; `matrix-align rate new {folder} RUN_A RUN_B` makes one")
    return what


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
