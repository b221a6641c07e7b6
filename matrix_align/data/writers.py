"""Writes files of rows: JSON lines, one JSON list, or Parquet. A file gets its name only when it is complete."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InputError

Json = dict[str, Any]
Write = Callable[[Json], None]


@contextmanager
def writer(path: Path) -> Iterator[Write]:
    """Writes rows to the file `path`, in the form that its suffix names.

    Without a row, no file is written. Raises InputError if `path` is Parquet and pyarrow is missing.
    """
    part = path.with_name(f".{path.name}.part")
    writers: dict[str, Callable[[Path], AbstractContextManager[Write]]] = {".parquet": _parquet, ".json": _json}
    writing = writers.get(path.suffix, _jsonl)(part)
    try:
        with writing as write:
            yield write
        if part.exists() and part.stat().st_size > len("[]\n"):  # a file without rows is not kept
            os.replace(part, path)
    except OSError as error:
        if str(error.filename) == str(part):
            error.filename = str(path)  # the one that a person knows of
        raise
    finally:
        with suppress(OSError):  # it was never made
            part.unlink()


@contextmanager
def _jsonl(path: Path) -> Iterator[Write]:
    with open(path, "w", encoding="utf-8") as file:
        yield lambda row: print(json.dumps(row, ensure_ascii=False), file=file)


@contextmanager
def _json(path: Path) -> Iterator[Write]:
    with open(path, "w", encoding="utf-8") as file:
        written = 0

        def write(row: Json) -> None:
            nonlocal written
            print("," if written else "[", json.dumps({"id": str(written), **row}, ensure_ascii=False), file=file)
            written += 1

        yield write
        print("]" if written else "[]", file=file)


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    """Writes Parquet in batches of 1,000 rows. The first batch decides the columns' types."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError("writing Parquet needs pyarrow: pip install 'matrix-align[tune]'") from None
    rows: list[Json] = []
    table = None

    def flush() -> None:
        nonlocal table
        if rows:
            batch = pyarrow.Table.from_pylist(rows)
            table = table or parquet.ParquetWriter(path, batch.schema)
            table.write_table(batch.cast(table.schema))
            rows.clear()

    def write(row: Json) -> None:
        rows.append(row)
        if len(rows) >= 1000:
            flush()

    yield write
    flush()
    if table:
        table.close()
