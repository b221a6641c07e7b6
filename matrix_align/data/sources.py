"""Questions from files and data sets, one at a time: nothing is held but the row that is read.

Owns the formats. A row that can't be used becomes a Fault with its place, and the rest goes on. Knows no run and no
model. The benchmarks' formats are those their authors publish: AdvBench (Zou et al. 2023, CSV `goal,target`), HarmfulQA
(Bhardwaj & Poria 2023, JSON topic -> subtopic -> questions), HH-RLHF (Bai et al. 2022, dialogues `chosen`/`rejected`)
and PKU-SafeRLHF (Ji et al. 2023, `prompt`). A local file in one of them is read without being told which it is.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from pydantic import ValidationError

from ..errors import InputError
from ..types import QUESTION_LIMIT, Message, Question, clean, shorten

Category = Literal["helpful", "harmful", ""]

# Where each benchmark is published, its questions' category, and its licence, from its data card.
BENCHMARKS: dict[str, tuple[str, Category, str]] = {
    "advbench": ("walledai/AdvBench:train:prompt", "harmful", "MIT"),
    "harmfulqa": ("declare-lab/HarmfulQA:train:question", "harmful", "Apache-2.0"),
    "hh-rlhf": ("Anthropic/hh-rlhf:train:chosen", "", "MIT"),
    "pku-saferlhf": ("PKU-Alignment/PKU-SafeRLHF:train:prompt", "", "CC-BY-NC-4.0"),
}
COLUMNS = ("question", "prompt", "instruction", "goal", "query", "messages", "conversations", "turns", "chosen", "text")
FORMATS = (".jsonl", ".json", ".csv", ".txt", ".parquet")
LINE_LIMIT = 4 * 2**20  # bytes; a longer line is no question
RECORD_LIMIT = 500  # lines of one CSV record
TURN = re.compile(r"\n\n(Human|Assistant): ?")
SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True)
class Row:
    """One question of a source; `place` is 'path:line', `category` is empty where nothing says which."""

    place: str
    source: str
    question: Question
    category: Category


@dataclass(frozen=True)
class Fault:
    """One row that can't be used, and why."""

    place: str
    source: str
    reason: str

    def __post_init__(self) -> None:
        for name in ("place", "source", "reason"):  # a row that is broken may hold anything
            object.__setattr__(self, name, clean(getattr(self, name)))


def read(source: str, column: str | None = None, category: Category = "") -> Iterator[Row | Fault]:
    """The rows of a file, a benchmark's name, or `hf:owner/dataset[:split[:column]]`.

    `column` names the field with the question, which is else the first of COLUMNS that a row has. `category` goes
    before what the row or the benchmark says. Raises InputError at once for a source that is not there, and on reading
    where it can't be read as a whole.
    """
    usual: Category = ""
    name = where = source
    if source in BENCHMARKS:
        published, usual, _ = BENCHMARKS[source]
        rows, column = _published(published, column)
    elif source.startswith("hf:"):
        rows, column = _published(source.removeprefix("hf:"), column)
    else:
        kind = _kind(path := Path(source))
        rows = _file(path, kind)
        name, where = path.name, str(path.resolve())  # however it is named

    def one(where: str, row: Any) -> Row | Fault:
        if isinstance(row, Exception):
            return Fault(where, name, shorten(str(row), 200))
        try:
            question, said = _question(row, column)
        except ValidationError as error:
            return Fault(where, name, error.errors()[0]["msg"].removeprefix("Value error, "))
        except ValueError as error:
            return Fault(where, name, shorten(str(error), 200))
        return Row(where, name, question, category or said or usual)

    return (one(f"{where}:{place}", row) for place, row in rows)


def raw(path: Path) -> Iterator[tuple[object, Any]]:
    """The rows of a file as they are, each with its place in it; a row that can't be parsed is an exception.

    Raises InputError where the file is not there or can't be read as a whole.
    """
    return _file(path, _kind(path))


def licence(source: str) -> str:
    return BENCHMARKS[source][2] if source in BENCHMARKS else "unknown"


# What is read: places with rows, or with what is wrong there.
Found = Iterator[tuple[object, Any]]


def _kind(path: Path) -> str:
    """The suffix that says how a file is read, which must be one that can be opened."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if packed else suffixes)[-1:]
    if not kind or kind[0] not in FORMATS or (packed and kind == [".parquet"]):
        known = ", ".join([*FORMATS, *BENCHMARKS, "hf:OWNER/NAME"])
        raise InputError(f"{path} is no source; wanted one of {known} (text formats may end in .gz)")
    try:
        open(path, "rb").close()
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
    return kind[0]


def _file(path: Path, kind: str) -> Found:
    packed = path.suffix.lower() == ".gz"
    readers: dict[str, Callable[[IO[bytes]], Found]] = {".jsonl": _jsonl, ".csv": _csv, ".txt": _txt}
    try:
        if kind == ".parquet":
            yield from _parquet(path)
            return
        with (gzip.open if packed else open)(path, "rb") as file:
            yield from _json(file.read(), path) if kind == ".json" else readers[kind](cast(IO[bytes], file))
    except csv.Error as error:
        raise InputError(f"can't read {path}: {error}") from None
    except (OSError, EOFError, zlib.error) as error:  # the last two: a cut or broken .gz
        raise InputError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from None


def _lines(file: IO[bytes]) -> Iterator[tuple[int, str | Exception]]:
    for number, line in enumerate(file, start=1):
        if len(line) > LINE_LIMIT:
            yield number, ValueError(f"a line of {len(line):,} bytes; at most {LINE_LIMIT:,} are read")
            continue
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield number, ValueError(f"no UTF-8 ({error.reason} at byte {error.start + 1})")
            continue
        if text.strip():
            yield number, text


def _txt(file: IO[bytes]) -> Found:
    yield from _lines(file)


def _jsonl(file: IO[bytes]) -> Found:
    for number, line in _lines(file):
        if isinstance(line, Exception):
            yield number, line
            continue
        try:
            yield number, json.loads(line, strict=False)
        except (ValueError, RecursionError) as error:
            yield number, ValueError(f"no JSON: {error}")


def _csv(file: IO[bytes]) -> Found:
    """Records, each at the line it begins on. A quote that is never closed costs its own line, not the rest."""
    csv.field_size_limit(LINE_LIMIT)
    # Bytes that are no UTF-8 are kept as lone surrogates, so that just their row is lost.
    lines = enumerate((line.decode("utf-8", "surrogateescape") for line in file), start=1)
    back: deque[tuple[int, str]] = deque()
    names: list[str] | None = None
    delimiter = ","
    while (line := back.popleft() if back else next(lines, None)) is not None:
        if names is None:
            line = (line[0], line[1].removeprefix("\ufeff"))
            delimiter = max(",;\t", key=line[1].count)
        record = [line]
        while True:
            try:
                cells = next(csv.reader([text for _, text in record], strict=True, delimiter=delimiter), [])
                break
            except csv.Error as error:
                more = len(record) < RECORD_LIMIT and "unexpected end" in str(error)
                if more and (line := back.popleft() if back else next(lines, None)) is not None:
                    record.append(line)
                    continue
                back.extendleft(reversed(record[1:]))
                cells = []
                yield record[0][0], ValueError(f"no CSV: {error}")
                break
        if names is None:
            names = cells
        elif any("\udc80" <= sign <= "\udcff" for cell in cells for sign in cell):
            yield record[0][0], ValueError("no UTF-8")
        elif cells and len(cells) != len(names):
            yield record[0][0], ValueError(f"{len(cells)} cells, where the first line names {len(names)}")
        elif cells:
            yield record[0][0], dict(zip(names, cells, strict=True))


def _json(content: bytes, path: Path) -> Found:
    """A list of rows, or HarmfulQA's nested lists; its rows have numbers for places."""
    try:
        whole = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}; JSON lines go into a .jsonl file") from None
    if isinstance(whole, dict) and whole and all(isinstance(each, dict) for each in whole.values()):
        parts = [part for topic in whole.values() for part in topic.values()]
        if all(isinstance(part, list) for part in parts):
            whole = [{"question": text, "category": "harmful"} for part in parts for text in part]
    elif isinstance(whole, dict) and len(whole) == 1 and isinstance(rows := next(iter(whole.values())), list):
        whole = rows  # {"data": […]}
    yield from enumerate(whole if isinstance(whole, list) else [whole], start=1)


def _parquet(path: Path) -> Found:
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


def _published(where: str, column: str | None) -> tuple[Found, str | None]:
    """The rows of a data set of the Hugging Face hub, streamed, and the column named with it."""
    name, _, rest = where.partition(":")
    split, _, named = rest.partition(":")
    try:
        from datasets import load_dataset
    except ImportError:
        raise InputError(f"reading {name} needs the hub's library: pip install 'matrix-align[tune]'") from None
    try:
        rows = load_dataset(name, split=split or "train", streaming=True)
    except Exception as error:  # whatever the library, the network or the hub raise
        why = shorten(str(error), 200)
        raise InputError(f"can't load {name} from the hub: {why}; a local file in its format does as well") from None
    return _streamed(rows, name), column or named or None


def _streamed(rows: Any, name: str) -> Found:
    try:
        yield from enumerate(rows, start=1)
    except Exception as error:  # the library's, the network's, the files'
        raise InputError(f"reading {name} from the hub broke off: {shorten(str(error), 200)}") from None


def _question(row: Any, column: str | None) -> tuple[Question, Category]:
    """The question in a row, and the category the row names. Raises ValueError where there is none."""
    if isinstance(row, str):
        return Question(text=row), ""
    if not isinstance(row, dict):
        raise ValueError(f"a row is an object or a text, not {type(row).__name__}")
    if column and column not in row:
        raise ValueError(f"no column {column!r}; it has {shorten(', '.join(map(str, row)), 100) or 'none'}")
    name = column or next((each for each in COLUMNS if row.get(each)), None)
    if not name and (empty := next((each for each in COLUMNS if each in row), None)):
        raise ValueError(f"{empty} is empty")
    if not name:
        raise ValueError(f"no question in it; it has {shorten(', '.join(map(str, row)), 100)}; name one with --column")
    value, said = row[name], str(row.get("category")).lower()
    category = cast(Category, said) if said in ("helpful", "harmful") else ""
    if name == "instruction" and isinstance(value, str) and isinstance(row.get("input"), str):
        value = f"{value}\n\n{row['input']}".strip()  # Alpaca's, of which the input may be empty
    system = row.get("system") if isinstance(row.get("system"), str) else None
    if isinstance(value, list):
        return _conversation(value, name, system), category
    if not isinstance(value, str):
        raise ValueError(f"{name} is {type(value).__name__}, not a text")
    if name in ("chosen", "rejected") and TURN.match(value):
        return _conversation(dialogue(value), name, system), category
    return Question(text=value, system=system), category


def dialogue(text: str) -> list[dict[str, str]]:
    """The turns of a dialogue as HH-RLHF writes them, `\\n\\nHuman: …\\n\\nAssistant: …`."""
    parts = TURN.split(text)[1:]
    return [
        {"role": SPEAKERS[who.lower()], "content": said.strip()}
        for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _conversation(turns: list[Any], name: str, system: str | None) -> Question:
    """The last question of a conversation with the turns before it; of the user's turns alone, the first."""
    if turns and all(isinstance(turn, str) for turn in turns):
        return Question(text=turns[0], system=system)  # what follows depends on the model's own answers
    messages: list[Message] = []
    for turn in turns:
        if not isinstance(turn, dict):
            raise ValueError(f"{name} holds something that is no turn")
        speaker = SPEAKERS.get(str(turn.get("role") or turn.get("from") or "").lower())
        content = turn.get("content") or turn.get("value") or ""
        if not speaker or not isinstance(content, str):
            raise ValueError(f"{name} holds a turn without a known role and a text")
        if speaker == "system":
            system = content
        elif len(content) > QUESTION_LIMIT:
            raise ValueError(f"a turn of {len(content):,} characters; at most {QUESTION_LIMIT:,} are taken")
        else:
            messages.append(Message(role="user" if speaker == "user" else "assistant", content=content))
    while messages and messages[-1].role != "user":
        messages.pop()  # the answer is what is to be found
    if not messages:
        raise ValueError(f"{name} holds no turn of a user")
    return Question(text=messages[-1].content, earlier=tuple(messages[:-1]), system=system)
