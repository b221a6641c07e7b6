"""Pairs as a blind file for people or for any model, and their ratings from files that come back.

What goes out holds no trace of whose answer is whose: sides, order and ids are drawn at random. The key that says it
is kept in another place. Owns both formats. Knows no model.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, field_validator

from ...data.files import raw_rows
from ...errors import InputError
from ...plain import fault_in
from ...types import Frozen, clean, shorten
from .prompts import PROMPTS
from .types import WORDS, Judged, Judgement, Level, Pair, Pairing, Side

PAIRS, README = "pairs.jsonl", "README.md"
UNSENT = "not in the key"  # of a pair that nobody has got to rate
BOTH_ORDERS = "Each pair comes twice, the second time with the answers in exchanged places, at a random distance."
SPELT: dict[str, Level] = {
    **{words.casefold(): level for level, words in WORDS.items()},
    **{level.casefold(): level for level in WORDS},
    "tie": "A=B",
}


class Entry(Frozen):
    """One line of the key: which pair the line `id` of the blind file shows, and which side of it as A.

    The pair is known by its own `pair` and by the names of both runs. `rater` is the only one who gets the line; empty
    if all raters get it.
    """

    id: str
    pair: str
    candidate: str
    baseline: str
    as_a: Side
    rater: str = ""


class RatingLine(Frozen):
    """One line of a rating file. Fields that are not known here are left alone, so that other tools can add theirs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    rating: Level
    reason: str = ""
    rater: str = ""

    @field_validator("rating", mode="before")
    @classmethod
    def _spelt(cls, value: Any) -> Any:
        return SPELT.get(" ".join(value.split()).casefold(), value) if isinstance(value, str) else value

    @field_validator("reason", "rater", mode="before")
    @classmethod
    def _or_nothing(cls, value: Any) -> Any:
        return clean(value).strip() if isinstance(value, str) else "" if value is None else value


@dataclass
class Ratings:
    """What rating files say. `by_item` has the judgements by the line's id. `faults` name file and line."""

    by_item: dict[str, list[Judgement]] = field(default_factory=dict)
    raters: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def write_pairs(pairings: Sequence[Pairing], folder: Path, key: Path, once: bool = False, seed: int = 0) -> int:
    """Writes the blind file and its README into `folder`, and the key to the file `key`. Returns the number of lines.

    Every pair comes in both orders, or with `once` in one that is drawn. Identical pairs are left out. The same pairs
    and seed give the same files. Raises InputError if the key would lie in the folder, or if ratings may exist already:
    neither a key nor a blind file is ever overwritten by another one, nor is any other README.
    """
    if folder.resolve() in key.resolve().parents:
        raise InputError(f"the key {key} would lie in {folder}, which the rater gets; give an --out outside it")
    pairs = [(pairing, pair) for pairing in pairings for pair in pairing.pairs if not pair.identical]
    drawn = random.Random(f"{seed} {[pair.id for _, pair in pairs]}")
    lines = []
    for pairing, pair in pairs:
        sides: list[Side] = ["candidate", "baseline"]
        for as_a in [drawn.choice(sides)] if once else sides:
            id = f"{drawn.getrandbits(64):016x}"
            names = {"candidate": pairing.candidate.name, "baseline": pairing.baseline.name}
            lines.append((_blind(id, pair, as_a), Entry(id=id, pair=pair.id, as_a=as_a, **names)))
    drawn.shuffle(lines)
    keys = "".join(
        entry.model_dump_json() + "\n" for entry in sorted((entry for _, entry in lines), key=lambda e: e.id)
    )
    if key.exists() and key.read_text(encoding="utf-8") != keys:
        raise InputError(f"{key} is the key of other pairs, which may be out for rating; give another --out")
    blind = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line, _ in lines)
    if (folder / PAIRS).exists():
        if (folder / PAIRS).read_text(encoding="utf-8") != blind:
            raise InputError(f"{folder / PAIRS} has other pairs, which may be out for rating; give another folder")
    elif (folder / README).exists():
        raise InputError(f"{folder / README} would be overwritten; give a folder for the pairs that is new or empty")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place, text in (
            (key, keys),  # first, so that no blind file is without one
            (folder / PAIRS, blind),
            (folder / README, _readme(once)),
        ):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't write {error.filename}: {error.strerror}") from None
    return len(lines)


def _blind(id: str, pair: Pair, as_a: Side) -> dict[str, Any]:
    a, b = (pair.candidate, pair.baseline) if as_a == "candidate" else (pair.baseline, pair.candidate)
    line: dict[str, Any] = {"id": id}
    if pair.question.system:
        line["system"] = pair.question.system
    if pair.question.history:
        line["history"] = [turn.model_dump() for turn in pair.question.history]
    return {**line, "question": pair.question.text, "A": a, "B": b}


def _readme(once: bool) -> str:
    levels = "\n".join(f"- `{level}`: {words}" for level, words in WORDS.items())
    orders = "" if once else BOTH_ORDERS
    return PROMPTS.render("rater", criteria=PROMPTS.render("criteria"), levels=levels, orders=orders) + "\n"


def read_key(path: Path) -> dict[str, Entry]:
    """The key's entries, by the id of their line. Raises InputError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        entries = [Entry.model_validate_json(line) for line in lines]
    except OSError as error:
        raise InputError(f"can't read the key {path}: {error.strerror}; `compare --pairs-out` writes it") from None
    except ValueError:
        raise InputError(f"{path} is no key; wanted the key.jsonl that `compare --pairs-out` wrote") from None
    return {entry.id: entry for entry in entries}


def read_ratings(files: Sequence[Path], key: dict[str, Entry]) -> Ratings:
    """The ratings in all files. A line that can't be used becomes a fault, and reading goes on.

    A rater without a name is called by the file. Of several ratings of one line by one rater the first counts.
    """
    read = Ratings()
    seen: set[tuple[str, str]] = set()
    for place, rater, line in _lines(files, key, read.faults):
        if (line.id, rater) in seen:
            read.faults.append(f"{place}: {rater} has rated {line.id} before; the first rating counts")
            continue
        seen.add((line.id, rater))
        said = Judgement(as_a=key[line.id].as_a, level=line.rating, reason=line.reason, rater=rater)
        read.by_item.setdefault(line.id, []).append(said)
    read.raters = sorted({rater for _, rater in seen})
    return read


def _lines(files: Sequence[Path], key: dict[str, Entry], faults: list[str]) -> Iterator[tuple[str, str, RatingLine]]:
    """(place, rater, line) of every rating of a line that the key knows."""
    for path in files:
        for number, row in raw_rows(path):
            place = f"{path}:{number}"
            try:
                if isinstance(row, ValueError):
                    raise row
                line = RatingLine.model_validate(row)
            except ValidationError as error:
                faults.append(f"{place}: {fault_in(error)}")
            except ValueError as error:
                faults.append(f"{place}: {error}")
            else:
                if line.id in key:
                    yield place, line.rater or path.name.split(".")[0], line
                else:
                    faults.append(f"{place}: the key knows no line {shorten(line.id, 60)!r}")


def rated(pairings: Sequence[Pairing], key: dict[str, Entry], ratings: Ratings) -> list[list[Judged]]:
    """The pairs of each pairing with their ratings. A line that nobody rated is a judgement without a verdict.

    Pairs that the key does not know have no judgement: they were not sent out, or a text has changed since.
    """
    items: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in key.values():
        items.setdefault((entry.candidate, entry.baseline, entry.pair), []).append(entry)

    def one(pairing: Pairing, pair: Pair) -> Judged:
        entries = items.get((pairing.candidate.name, pairing.baseline.name, pair.id), [])
        said: list[Judgement] = []
        for entry in entries:
            unrated = Judgement(as_a=entry.as_a, level=None, fault="not rated")
            said += ratings.by_item.get(entry.id) or [unrated]
        if not entries and not pair.identical:
            said = [Judgement(as_a="candidate", level=None, fault=UNSENT)]
        lines = Counter(entry.rater for entry in entries)
        return Judged(pair=pair, judgements=tuple(said), orders=1 if max(lines.values(), default=2) == 1 else 2)

    return [[one(pairing, pair) for pair in pairing.pairs] for pairing in pairings]


def strangers(pairings: Sequence[Pairing], key: dict[str, Entry]) -> int:
    """The number of lines of the key that show no pair of these runs as they are now."""
    known = {(pairing.candidate.name, pairing.baseline.name, pair.id) for pairing in pairings for pair in pairing.pairs}
    return Counter((e.candidate, e.baseline, e.pair) in known for e in key.values())[False]
