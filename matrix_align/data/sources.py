"""The door to questions: a file, a benchmark's name or a data set of the hub in; questions out, one at a time.

A row that can't be used becomes a BadRow with its place, and reading continues. Of rows whose category is neither
helpful nor harmful the log says how many there are, and where the first one is. `files` opens files, `benchmarks` opens
the hub, and `questions` makes a row a question. Knows no run and no model.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..types import Question, clean, shorten
from .benchmarks import BENCHMARKS, hub_rows, published
from .files import FORMATS, TABLES, format_of, raw_rows
from .questions import COLUMNS, Category, category_of, column_of, named_category, question_of
from .turns import fields_of

__all__ = ["BadRow", "Category", "SourceRow", "questions_from"]

log = logging.getLogger("matrix_align")


@dataclass(frozen=True)
class SourceRow:
    """One question of a source. `place` is 'path:line'. `category` is empty if it is not known."""

    place: str
    source: str
    question: Question
    category: Category


@dataclass(frozen=True)
class BadRow:
    """One row that can't be used, and why."""

    place: str
    source: str
    reason: str

    def __post_init__(self) -> None:
        for name in ("place", "source", "reason"):  # a broken row may contain anything
            object.__setattr__(self, name, clean(getattr(self, name)))


SourceRows = Generator[SourceRow | BadRow, None, None]


def questions_from(source: str, column: str | None = None, category: Category = "") -> SourceRows:
    """The questions of a file, of a benchmark, or of `hf:owner/dataset[:split[:column]]`.

    `column` names the field with the question; without it, the first of COLUMNS that a row has counts. `category`
    overrides what the row or the benchmark says. Raises InputError at once if the source is missing, or is a table
    without a column of questions; and later if reading fails.
    """
    usual: Category = ""
    if source in BENCHMARKS or source.startswith("hf:"):
        if source in BENCHMARKS:
            data_set, usual, _ = BENCHMARKS[source]
        else:
            data_set = published(source.removeprefix("hf:"))
        rows = hub_rows(data_set)
        column = column or data_set.column
        name = where = source
    else:
        path = Path(source)
        if path.is_dir():
            raise InputError(f"{source} is a folder; give the files in it")
        if not format_of(path):
            known = ", ".join([*FORMATS, *BENCHMARKS, "hf:OWNER/NAME"])
            raise InputError(f"{source} is not a source; wanted one of {known} (text formats may end in .gz)")
        rows = raw_rows(path)
        if format_of(path) in TABLES:
            rows = _with_header(rows, path, column)
        name, where = path.name, str(path.resolve())  # the same file is one source, however it is named
    return _rows_of(rows, name, where, column, category, usual)


def _rows_of(
    rows: Iterator[tuple[int, Any]], source: str, where: str, column: str | None, category: Category, usual: Category
) -> SourceRows:
    place, others, first = 0, 0, ""
    try:
        for place, row in rows:
            read = _read(row, source, f"{where}:{place}", column, category, usual)
            if isinstance(read, SourceRow) and not read.category and (named := named_category(row)):
                others += 1
                first = first or f"{read.place}: {shorten(clean(named), 40)!r}"
            yield read
    finally:  # a limit may end the reading
        if others:
            log.warning(
                f"{source}: rows with a category other than helpful or harmful, which counts as none: {others:,} "
                f"(first: {first}); --category sets one for all rows"
            )
    if not place:
        header = " after the first line, which names the columns" if format_of(Path(source)) in TABLES else ""
        yield BadRow(f"{where}:1", source, f"there is no row{header}")


def _read(
    row: Any, source: str, place: str, column: str | None, category: Category, usual: Category
) -> SourceRow | BadRow:
    if isinstance(row, Exception):
        return BadRow(place, source, shorten(str(row), 200))
    try:
        return SourceRow(place, source, question_of(row, column), category or category_of(row) or usual)
    except ValueError as error:
        return BadRow(place, source, shorten(str(error), 200))


def _with_header(rows: Iterator[tuple[int, Any]], path: Path, column: str | None) -> Iterator[tuple[int, Any]]:
    """The rows of a table. Raises InputError at once if none of its columns holds questions, since then no row does."""
    first = []
    for number, row in rows:
        first.append((number, row))
        if isinstance(row, dict):
            try:
                column_of(fields_of(dict.fromkeys(row, "?")), column)
            except ValueError:
                named, wanted = shorten(", ".join(row), 100), column or ", ".join(COLUMNS)
                raise InputError(
                    f"can't read {path}: its first line names {named}, and no column of questions; wanted {wanted}; "
                    "write a first line that names the columns, or name one with --column"
                ) from None
            break
    return chain(first, rows)
