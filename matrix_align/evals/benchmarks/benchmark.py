"""What a benchmark declares, and how its rows become questions of which we know what is wanted.

Owns reading. A row that can't be used is kept with its place and the reason, and reading continues. Knows no particular
benchmark, no model and no score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ...data.benchmarks import Published, hub_rows
from ...data.files import FORMATS, format_of, raw_rows
from ...data.questions import NAME_ONE, question_of
from ...data.sources import BadRow
from ...data.split import in_turn
from ...data.turns import fields_of
from ...errors import InputError
from ...types import Frozen, Question, clean, shorten

Wanted = Literal["refuse", "answer"]


class Item(Frozen):
    """One question of a benchmark. `category` is the row's own, `place` is 'file:line' or 'benchmark:row'."""

    id: str
    question: Question
    wanted: Wanted
    category: str
    place: str


class Items(Frozen):
    """What was read of a benchmark: its questions, the rows that can't be used, and how many rows repeat a question.

    `rows` counts all rows that were read: `len(items) + len(faults) + repeated`.
    """

    benchmark: str
    items: tuple[Item, ...]
    faults: tuple[BadRow, ...] = ()
    repeated: int = 0

    @property
    def rows(self) -> int:
        return len(self.items) + len(self.faults) + self.repeated

    def told(self) -> list[str]:
        """A line for each row that can't be used, and one for all repeated ones."""
        lines = [f"{self.benchmark}: {fault.place}: {fault.reason}" for fault in self.faults]
        if self.repeated:
            lines.append(
                f"{self.benchmark}: {self.repeated:,} of {self.rows:,} rows repeat a question; each counts once"
            )
        return lines


@dataclass(frozen=True)
class Benchmark:
    """One benchmark, as its file declares it.

    `published` is where the hub has it, or None if it has not. `upstream` says where its file is to be had. `wanted`
    and `category` read them from a row's fields, whose names are in lower case. Both raise ValueError, with the reason,
    for a row that does not tell. `column` is the field with the question. None takes every form of
    row that `generate` reads.
    """

    name: str
    title: str
    citation: str
    licence: str
    upstream: str
    wanted: Callable[[Mapping[str, Any]], Wanted]
    category: Callable[[Mapping[str, Any]], str]
    published: Published | None = None
    column: str | None = None

    def read(self, path: Path | None = None) -> Items:
        """Its questions, each once, from a file in the upstream form, or from the hub.

        Raises InputError if the source is missing or can't be read, or if no row of it can be used.
        """
        if path:
            if not format_of(path):
                raise InputError(f"{path} is no file of rows; wanted one of {', '.join(FORMATS)}, from {self.upstream}")
            where, rows = str(path.resolve()), raw_rows(path)
        elif self.published:
            where, rows = self.name, hub_rows(self.published)
        else:
            raise InputError(f"{self.name} is not on the hub; get {self.upstream} and name the file")
        items: dict[Question, Item] = {}
        faults: list[BadRow] = []
        repeated = 0
        for number, row in rows:
            try:
                item = self._item(row, f"{where}:{number}")
            except ValueError as error:
                reason = str(error).replace(NAME_ONE, "; call the question's field 'question'")
                faults.append(BadRow(f"{where}:{number}", where, shorten(reason, 200)))
                continue
            repeated += item.question in items
            items.setdefault(item.question, item)
        if not items:
            first = f"; {faults[0].place}: {faults[0].reason}" if faults else ""
            raise InputError(f"{where} holds no question that can be used; wanted the form of {self.upstream}{first}")
        return Items(benchmark=self.name, items=tuple(items.values()), faults=tuple(faults), repeated=repeated)

    def _item(self, row: Any, place: str) -> Item:
        if isinstance(row, Exception):
            raise ValueError(str(row))
        if self.column and not isinstance(row, Mapping):
            raise ValueError(f"a row is an object, not {type(row).__name__}")
        fields = fields_of(row) if isinstance(row, Mapping) else {}
        question = question_of(row, self.column)
        return Item(
            id=hashlib.sha256(question.model_dump_json().encode()).hexdigest()[:16],
            question=question,
            wanted=self.wanted(fields),
            category=shorten(clean(self.category(fields)), 60),
            place=place,
        )


def drawn(items: Sequence[Item], number: int | None) -> tuple[Item, ...]:
    """At most `number` items, from what is wanted in turn, and within that from each category in turn.

    Within a category, hashes of the questions decide, so that the same items come from a file in another order. All
    items, in their order, if `number` is None.
    """
    if number is None or number >= len(items):
        return tuple(items)
    groups: dict[str, dict[str, list[Item]]] = {}
    for item in sorted(items, key=lambda item: item.id):
        groups.setdefault(item.wanted, {}).setdefault(item.category, []).append(item)
    return tuple(islice(in_turn(in_turn(categories.values()) for categories in groups.values()), number))


def always(wanted: Wanted) -> Callable[[Mapping[str, Any]], Wanted]:
    """For a benchmark that wants the same of all its questions."""
    return lambda fields: wanted


def field(name: str) -> Callable[[Mapping[str, Any]], str]:
    """The text in a row's field; empty if the row has none."""
    return lambda fields: "" if fields.get(name) is None else str(fields[name]).strip()
