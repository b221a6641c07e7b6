"""CSV: the rows of a table, each at the line it begins on.

Owns one promise: a quote that is never closed makes its own line unusable, not the rest of the file. `csv.DictReader`
reads the lines. After an error it reads the lines after the record's first one again.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from ..types import counted

RECORD_LIMIT = 500  # lines of one record
CELL_LIMIT = 4 * 2**20  # characters


class _Lines:
    """The lines of the file. `record` holds the numbered lines of the record that is being read."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = enumerate(lines, start=1)
        self._given_back: deque[tuple[int, str]] = deque()
        self.record: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.record) == RECORD_LIMIT:
            raise StopIteration  # the reader takes this for the end of the file, where an open quote is an error
        line = self._given_back.popleft() if self._given_back else next(self._lines)
        self.record.append(line)
        return line[1]

    def begin(self) -> bool:
        """Skips empty lines up to the next record's first line; False at the end of the file."""
        for line in self:
            if line.strip("\r\n"):
                self._give_back(0)
                return True
            self.record.clear()
        return False

    def skip_one(self) -> None:
        """Drops the record's first line. The others are read again."""
        self._give_back(1)

    @property
    def first(self) -> tuple[int, str]:
        """The line that is read next, after `begin` returned True."""
        return self._given_back[0]

    def _give_back(self, start: int) -> None:
        self._given_back.extendleft(reversed(self.record[start:]))
        self.record.clear()


def csv_rows(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Each record with its line: an object with the first line's names, or the ValueError that says why not.

    The separator is the comma, semicolon or tab, whichever is most frequent in the first line. Raises csv.Error if the
    first line can't be parsed.
    """
    csv.field_size_limit(CELL_LIMIT)
    file = _Lines(lines)
    if not file.begin():
        return
    reader = csv.DictReader(file, strict=True, delimiter=max(",;\t", key=file.first[1].count))
    try:
        names = reader.fieldnames or []
    except csv.Error as error:
        raise csv.Error(f"its first line names no columns: {error}") from None
    file.record.clear()
    while file.begin():
        place, _ = file.first
        try:
            row = next(reader)
        except csv.Error as error:
            file.skip_one()
            yield place, ValueError(f"not CSV: {error}")
            continue
        file.record.clear()
        cells = len(names) + len(row.pop(None, ())) - sum(cell is None for cell in row.values())
        if cells != len(names):
            yield place, ValueError(f"{counted(cells, 'cell')}, where the first line names {len(names)}")
        else:
            yield place, row
