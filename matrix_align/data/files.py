"""Files of rows: bytes in, raw rows out, each with its line or number.

Owns the formats (JSON lines, JSON, CSV, text, Parquet; with gzip or without), encodings and line ends. Does not know
what a row contains. A row that can't be parsed becomes the error that says why, and reading continues. A file that is
not what its name says is refused with the true reason.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from ..errors import InputError
from ..types import shorten
from .tables import csv_rows
from .turns import CONVERSATIONS, is_chat_log

# The line of a row, or its number in the file; and the row, or the ValueError that says why there is none.
RawRow = tuple[int, Any]

TABLES = (".csv", ".tsv")
FORMATS = (".jsonl", ".json", *TABLES, ".txt", ".parquet")
LINE_LIMIT = 4 * 2**20  # characters; a longer line is not a question
HEAD = 4096  # bytes from which a file's encoding is guessed
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is the beginning of this one
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# How files begin that often have the wrong suffix, the suffix they should have, and what they are.
DISGUISES = {
    b"version https://git-lfs.github.com/spec/v1": ("", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    b"PK\x03\x04": ("", "a ZIP archive, as Excel's sheets are; save it as CSV, or unpack it"),
    b"\x1f\x8b": (".gz", "packed with gzip; its name should end in .gz"),
    b"<!DOCTYPE html": ("", "a page of HTML, not the file; was it downloaded without logging in?"),
    b"PAR1": (".parquet", "a Parquet file; its name should end in .parquet"),
}
UNDECODED = re.compile("[\udc80-\udcff]")


def format_of(path: Path) -> str:
    """The format in FORMATS that the file's name says, ignoring a final .gz; empty if it says none."""
    before, last = ["", "", *map(str.lower, path.suffixes)][-2:]
    if last == ".gz" and before != ".parquet":
        last = before
    return last if last in FORMATS else ""


def raw_rows(path: Path) -> Iterator[RawRow]:
    """The rows of a file, unchanged.

    Raises InputError at once if the file is missing or has the wrong format, and later if reading it fails.
    """
    kind = format_of(path)
    if not kind:
        known = ", ".join(FORMATS)
        raise InputError(f"{path} is not a file of rows; wanted one of {known} (text formats may end in .gz)")
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError as error:
        advice = f"; wanted the path of a file from {Path.cwd()}" if isinstance(error, FileNotFoundError) else ""
        raise InputError(f"can't read {path}: {error.strerror}{advice}") from None
    for start, (suffix, what) in DISGUISES.items():
        if head.startswith(start) and suffix != path.suffix.lower():
            raise InputError(f"can't read {path}: it is {what}")
    return _parquet(path) if kind == ".parquet" else _texts(path, kind)


def _texts(path: Path, kind: str) -> Iterator[RawRow]:
    try:
        unpacked = (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb")
        with cast(io.BufferedReader, unpacked) as file, _decoded(file, kind) as text:
            if kind == ".json":
                yield from _json(text.read(), path)
            elif kind == ".jsonl":
                yield from _json_lines(text)
            elif kind == ".txt":
                yield from _lines(text)
            else:
                yield from _csv(text)
    except UnicodeError as error:
        raise InputError(f"can't read {path}: {error}") from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:  # the second and third: a damaged .gz
        raise InputError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from None


def _decoded(file: io.BufferedReader, kind: str) -> IO[str]:
    """The file's text, from UTF-8 or from the encoding of its byte order mark.

    Bytes that are not UTF-8 stay as lone surrogates, so that only their row is lost. Lines end in LF, or in CR if the
    file's beginning has no LF. A table's lines may end in either; its cells may contain both.
    """
    head = file.peek(HEAD)[:HEAD]
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), "utf-8-sig")
    every_other = max(head[0::2].count(0), head[1::2].count(0)) * 2 > len(head[1::2]) > 1
    if encoding == "utf-8-sig" and every_other and 0 in head[:2] and any(head[:2]):
        raise UnicodeError("it looks like UTF-16 without a byte order mark; save it as UTF-8")
    newline = "\r" if b"\r" in head and b"\n" not in head else "\n"
    if kind in TABLES:
        newline = ""
    errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
    return io.TextIOWrapper(file, encoding, errors=errors, newline=newline)


def _lines(text: IO[str]) -> Iterator[tuple[int, str | ValueError]]:
    for number, line in enumerate(text, start=1):
        if len(line) > LINE_LIMIT:
            yield number, ValueError(f"a line of {len(line):,} characters; at most {LINE_LIMIT:,} are read")
        elif UNDECODED.search(line):
            yield number, _no_utf8(line)
        elif line.strip():
            yield number, line


def _no_utf8(text: str) -> ValueError:
    try:
        text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        return ValueError(f"not UTF-8 ({error.reason} at byte {error.start + 1})")
    return ValueError("not UTF-8")


def _json_lines(text: IO[str]) -> Iterator[RawRow]:
    for number, line in _lines(text):
        if isinstance(line, ValueError):
            yield number, line
            continue
        try:
            yield number, json.loads(line, strict=False)
        except (ValueError, RecursionError) as error:
            yield number, ValueError(f"not JSON: {error}")


def _csv(text: IO[str]) -> Iterator[RawRow]:
    for number, row in csv_rows(text):
        broken = isinstance(row, dict) and next((cell for cell in row.values() if UNDECODED.search(cell)), None)
        yield number, _no_utf8(broken) if broken else row


def _json(text: str, path: Path) -> Iterator[RawRow]:
    """A list of rows, one row, rows under one key (`{"data": […]}`), or HarmfulQA's topic -> subtopic -> questions.

    A list that is one conversation is one row.
    """
    try:
        rows = json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}; JSON lines belong in a .jsonl file") from None
    if isinstance(rows, dict) and rows and all(isinstance(topic, dict) for topic in rows.values()):
        if all(isinstance(part, list) for topic in rows.values() for part in topic.values()):
            rows = [
                {"question": text, "category": "harmful", "topic": topic, "subtopic": subtopic}
                for topic, parts in rows.items()
                for subtopic, part in parts.items()
                for text in part
            ]
    elif isinstance(rows, dict) and len(rows) == 1 and next(iter(rows)).lower() not in CONVERSATIONS:
        only = next(iter(rows.values()))
        rows = only if isinstance(only, list) else rows
    elif isinstance(rows, list) and is_chat_log(rows):
        rows = [rows]
    rows = rows if isinstance(rows, list) else [rows]
    undecoded = bool(UNDECODED.search(text))
    for number, row in enumerate(rows, start=1):
        broken = undecoded and UNDECODED.search(json.dumps(row, ensure_ascii=False))
        yield number, ValueError("not UTF-8") if broken else row


def _parquet(path: Path) -> Iterator[RawRow]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise InputError(f"reading {path} needs pyarrow: pip install 'matrix-align[tune]'") from None
    try:
        number = 0
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (ValueError, OSError, pyarrow.lib.ArrowException) as error:
        raise InputError(f"can't read {path}: {shorten(str(error), 200)}") from None
