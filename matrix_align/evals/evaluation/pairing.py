"""Pairs of every method's answers with those of one method, on each benchmark, and who decides them.

A judge decides them, or rating files. Without either, the pairs go out blind, as files for people or for any model.
Owns where these files and their keys lie; a pair that went out before does not go out again. Knows no figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...llm.model import Model
from ..pairwise.blind import PAIRS, README, UNSENT, Entry, rated, read_key, read_ratings, write_pairs
from ..pairwise.judge import Judging
from ..pairwise.pairs import contestant, pairing
from ..pairwise.types import Judged, Pairing
from .grid import Cell
from .progress import Progress

BLIND, KEY = "pairs", "key"
Pairs = list[tuple[str, Pairing]]  # with the benchmark of each


@dataclass(frozen=True)
class Decided:
    """The pairs of each pairing with their verdicts, and who gave them.

    `faults` are lines of ratings that can't be used. `sent` are the folders of the pairs that are out for rating, if
    nobody has decided them.
    """

    judged: list[list[Judged]]
    raters: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()

    def unsent(self) -> int:
        """How many pairs no rater has got."""
        return sum(said.fault == UNSENT for group in self.judged for each in group for said in each.judgements)


def pairings(cells: Sequence[Cell], against: str) -> Pairs:
    """Each method's answers with those of `against`, benchmark by benchmark."""
    baselines = {cell.benchmark: contestant(cell.folder, cell.method) for cell in cells if cell.method == against}
    return [
        (cell.benchmark, pairing(contestant(cell.folder, cell.method), baselines[cell.benchmark]))
        for cell in cells
        if cell.method != against
    ]


async def by_judge(pairs: Pairs, judge: Model, progress: Progress) -> Decided:
    """The pairs as a judge decides them, each in both orders."""
    done: list[None] = []
    judging = Judging(judge)
    judged: list[list[Judged]] = []
    total = sum(len(pairing.pairs) for _, pairing in pairs)
    async with progress.counting(f"pairs by {judge.name}", total, done):
        for _, pairing in pairs:
            judged.append(await judging.judged(pairing.pairs, lambda: done.append(None)))
    return Decided(judged, (judge.name,))


def by_ratings(pairs: Pairs, out: Path, files: Sequence[Path]) -> Decided:
    """The pairs as rating files decide them. Raises InputError if no pairs went out from the folder `out`."""
    key = {id: entry for batch in _batches(out) for id, entry in read_key(batch).items()}
    if not key:
        raise InputError(f"--ratings: no pairs went out from {out}; the same command without --ratings writes them")
    ratings = read_ratings(files, key)
    judged = rated([pairing for _, pairing in pairs], key, ratings)
    return Decided(judged, tuple(ratings.raters), tuple(ratings.faults), () if ratings.raters else sent(out))


def send_out(pairs: Pairs, out: Path, seed: int, once: bool) -> tuple[int, Path]:
    """Writes the pairs that did not go out before into a folder of their own. Returns its lines and the folder.

    A pair comes in both orders, or with `once` in one that is drawn.
    """
    batches = _batches(out)
    known = {_identity(entry) for batch in batches for entry in read_key(batch).values()}
    left = [
        pairing.model_copy(
            update={
                "pairs": tuple(
                    pair
                    for pair in pairing.pairs
                    if (pairing.candidate.name, pairing.baseline.name, pair.id) not in known
                )
            }
        )
        for _, pairing in pairs
    ]
    number = len(batches) + 1
    folder = _folder(out, number)
    if not any(not pair.identical for pairing in left for pair in pairing.pairs):
        return 0, _folder(out, max(1, len(batches)))
    key = _key(out, number)
    if folder.exists():  # its writing was broken off, so no pair of it went out
        for place in (key, folder / PAIRS):
            place.unlink(missing_ok=True)
    return write_pairs(left, folder, key, once, seed + number), folder  # ids are drawn: no two batches share any


def sent(out: Path) -> tuple[str, ...]:
    """The names of the folders in `out` whose pairs went out."""
    return tuple(_folder(out, number).name for number in range(1, len(_batches(out)) + 1))


def _identity(entry: Entry) -> tuple[str, str, str]:
    return entry.candidate, entry.baseline, entry.pair


def _batches(out: Path) -> list[Path]:
    """The keys of all pairs that went out. The README is written last, so a folder without it did not go out."""
    found: list[Path] = []
    while (_folder(out, len(found) + 1) / README).exists():
        found.append(_key(out, len(found) + 1))
    return found


def _folder(out: Path, number: int) -> Path:
    return out / (BLIND if number == 1 else f"{BLIND}-{number}")


def _key(out: Path, number: int) -> Path:
    return out / (f"{KEY}.jsonl" if number == 1 else f"{KEY}-{number}.jsonl")
