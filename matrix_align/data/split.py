"""Collects the questions of several sources, and chooses which of them are held out for measuring.

Owns how a limit is divided between sources and categories. Keeps all turns of a conversation on one side of the split.
Knows no run and no model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import TypeVar, cast

from ..errors import InputError
from ..types import Question
from .sources import BadRow, Category, SourceRow, questions_from

T = TypeVar("T")


def in_turn(groups: Iterable[Iterable[T]]) -> Iterator[T]:
    """The first item of each group, then the second of each, and so on. Skips a group that has ended."""
    nothing = object()
    for turn in zip_longest(*groups, fillvalue=nothing):
        yield from (cast(T, item) for item in turn if item is not nothing)


def gathered(sources: Sequence[str], category: Category, limit: int | None) -> tuple[list[SourceRow], list[BadRow]]:
    """The rows of all sources, each question once, and the rows that can't be used.

    A `limit` is divided: rows are taken from each category in turn, and within a category from each source in turn. So
    every category and every source is represented, whatever their order. The rows keep their order.
    """
    numbered = [
        (number, row) for number, source in enumerate(sources) for row in questions_from(source, category=category)
    ]
    faults = [row for _, row in numbered if isinstance(row, BadRow)]
    unique = {row.question: (number, row) for number, row in numbered if isinstance(row, SourceRow)}
    if limit is not None and limit < len(unique):
        groups: dict[str, dict[int, list[Question]]] = {}
        for question, (number, row) in unique.items():
            groups.setdefault(row.category, {}).setdefault(number, []).append(question)
        taken = set(islice(in_turn(in_turn(of_sources.values()) for of_sources in groups.values()), limit))
        return [row for question, (_, row) in unique.items() if question in taken], faults
    return [row for _, row in unique.values()], faults


def split(rows: Sequence[SourceRow], part: float) -> tuple[list[SourceRow], list[SourceRow]]:
    """The rows held out, a `part` (0 to 1) of each category, and the other rows. Hashes of the questions decide which.

    Raises InputError if a category would be on one side only.
    """
    drawn: set[str] = set()
    for category in dict.fromkeys(row.category for row in rows):
        openings = {row.question.opening() for row in rows if row.category == category}
        count = round(part * len(openings))
        if not 0 < count < len(openings):
            which = f"{category} questions".strip()
            raise InputError(
                f"{count} of {len(openings)} {which} would be held out; wanted some of each: see --held-out"
            )
        by_hash = sorted(openings, key=lambda opening: hashlib.sha256(opening.encode()).digest())
        drawn.update(by_hash[:count])
    held, others = list[SourceRow](), list[SourceRow]()
    for row in rows:
        (held if row.question.opening() in drawn else others).append(row)
    return held, others


def write_source(path: Path, rows: Iterable[SourceRow]) -> None:
    """Writes the rows as a source file, complete or not at all."""
    part = path.with_suffix(".part")
    with open(part, "w", encoding="utf-8") as file:
        for row in rows:
            turns = [message.model_dump() for message in row.question.messages()]
            print(json.dumps({"messages": turns, "category": row.category}, ensure_ascii=False), file=file)
    part.replace(path)


def digest_of(questions: Iterable[Question]) -> str:
    """Identifies these questions in this order, wherever they come from. An empty text if there are none."""
    digest, count = hashlib.sha256(), 0
    for count, question in enumerate(questions, start=1):
        digest.update(question.model_dump_json().encode() + b"\n")
    return digest.hexdigest()[:16] if count else ""
