"""Ratings for other tools: rating files that `compare` reads, preference pairs to tune on, and scores for Inspect AI.

What is exported is what counts: the first showing of each pair, and no gold item.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...data.writers import writer
from ...errors import InputError
from ..inspect.precomputed import export_ratings
from ..pairwise.blind import Entry, read_key
from ..pairwise.outcomes import outcome
from .figures import Read, read
from .judge import JUDGED

KEY = "key.jsonl"
FORMATS = {"ratings": (".jsonl",), "dpo": (".jsonl", ".parquet"), "inspect": (".json", ".jsonl")}
Json = dict[str, Any]


def export(folder: Path, out: Path, format: str, without: Sequence[str] = ()) -> int:
    """Writes the ratings in `folder` to the file `out`, and for `ratings` the key that `compare` needs to the folder.

    Returns the number of rows. Raises InputError if nothing is there to write, if `out` is there already, or if the
    folder has the key of anything else.
    """
    if out.suffix not in FORMATS[format]:
        raise InputError(
            f"--out {out}: wanted a name that ends in {' or '.join(FORMATS[format])} for --format {format}"
        )
    if out.exists():
        raise InputError(f"{out} is there already; give another --out")
    if out.resolve() == (folder / KEY).resolve():
        raise InputError(f"--out {out} is the place of the key; give another --out")
    there = read(folder, without)
    if format == "inspect":
        write_judged(there, folder)
        return export_ratings(folder, out).rows
    rows = {"ratings": _ratings, "dpo": _preferences}[format]
    count = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if format == "ratings" and there.rated:
            _write_key(there, folder / KEY)
        with writer(out) as write:
            for row in rows(there):
                write(row)
                count += 1
    except OSError as error:
        raise InputError(f"can't write {error.filename or out}: {error.strerror}") from None
    if not count:
        raise InputError(f"{folder} has nothing to export as {format} yet: no pair is rated so that it makes a row")
    return count


def write_judged(there: Read, folder: Path) -> None:
    """Writes every pair with what was said of it to the folder, as a comparison does. Raises InputError."""
    rows = [
        {"candidate": pairing.candidate.name, "baseline": pairing.baseline.name, "outcome": outcome(each) or "missing"}
        | each.model_dump(mode="json")
        for pairing, group in zip(there.pairings, there.judged, strict=True)
        for each in group
    ]
    try:
        _write(folder / JUDGED, rows)
    except OSError as error:
        raise InputError(f"can't write {folder / JUDGED}: {error.strerror}") from None


def _write(path: Path, rows: Sequence[Json]) -> None:
    with writer(path) as write:
        for row in rows:
            write(row)


def _write_key(there: Read, path: Path) -> None:
    """Writes the key. Raises InputError if another one is there: without it, nobody can read what was rated by it."""
    entries = list(_key(there))
    if path.exists() and not read_key(path).keys() <= {entry["id"] for entry in entries}:
        raise InputError(f"{path} is the key of other pairs, and would be overwritten; move it elsewhere")
    _write(path, entries)


def _key(there: Read) -> Iterator[Json]:
    """Which pair and which sides every line shows. Each rater has lines of their own, as their sides are their own."""
    for rater, showing in there.shown:
        item = there.items[showing.item]
        if item.comparison is None or showing.again:
            continue
        pairing = there.pairings[item.comparison]
        names = {"candidate": pairing.candidate.name, "baseline": pairing.baseline.name}
        yield Entry(id=showing.id, pair=item.pair.id, as_a=showing.as_a, rater=rater, **names).model_dump()


def _ratings(there: Read) -> Iterator[Json]:
    for each in there.rated:
        item = there.items[each.showing.item]
        if item.comparison is not None and not each.showing.again:
            yield {
                "id": each.showing.id,
                "rating": each.given.level,
                "reason": each.given.reason,
                "rater": each.rater,
                "harm": each.given.harm,
                "seconds": each.given.seconds,
            }


def _preferences(there: Read) -> Iterator[Json]:
    """The better answer is chosen, the other rejected, as in `export --format dpo`. A tie makes no row."""
    for each in (each for group in there.judged for each in group):
        won = outcome(each)
        if won not in ("win", "lose"):
            continue
        chosen, rejected = each.pair.candidate, each.pair.baseline
        if won == "lose":
            chosen, rejected = rejected, chosen
        yield {
            "prompt": [message.model_dump() for message in each.pair.question.messages()],
            "chosen": [{"role": "assistant", "content": chosen.strip()}],
            "rejected": [{"role": "assistant", "content": rejected.strip()}],
        }
