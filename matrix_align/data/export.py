"""A run as training data: the files of a data set, split by question, with a data card beside them.

Owns the formats: TRL's `messages` (SFT) and `prompt`/`chosen`/`rejected` (DPO, conversational), ShareGPT's
`conversations` (Axolotl), and whole scenes. Knows no model. Rows are written as they are read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..generate.run import Run
from ..types import Answer, Cut, Message
from .card import MARK, Count, card
from .refusal import refuses

KINDS = ("helpful", "harmful", "simulation")
FORMATS = ("sft", "dpo", "sharegpt", "scenes")
LEFT_OUT = "left out"
FASTCHAT = "fastchat"  # ShareGPT as its trainer reads it: one JSON list, and no turns of a system
SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}

Json = dict[str, Any]
Write = Callable[[Json], None]


@dataclass(frozen=True)
class Example:
    """One row to be: which kind it counts as, and its content. Rows are split by `asked`, the question's id."""

    kind: str
    source: str
    asked: str
    content: Json
    answer: str
    cut: bool = False


def export(run: Run, out: Path, format: str, mix: Mapping[str, float], test: float, seed: int) -> dict[str, Count]:
    """Writes `out` (train) and, where `test` > 0, the file beside it with `-test` in its name; and README.md, the card.

    `mix` gives the shares of helpful, harmful and simulation rows; as many are taken as the scarcest allows, chosen by
    `seed`. Without it all helpful, harmful and uncategorised rows are taken, and no simulation rows. Raises InputError
    for a name or a mix that can't be had, and where nothing would be written.
    """
    if format not in FORMATS:
        raise InputError(f"--format is one of {', '.join(FORMATS)} (got {format})")
    if out.suffix not in (".jsonl", ".parquet", *([".json"] if format == "sharegpt" else [])):
        raise InputError(f"--out {out}: wanted a name that ends in .jsonl or .parquet, or .json for sharegpt")
    if mix and format in ("dpo", "scenes"):
        raise InputError(f"--mix goes with --format sft or sharegpt; {format} rows have no simulation among them")
    if out.suffix == ".json":
        format = FASTCHAT
    kinds = Counter(each.kind for each in _examples(run, format, "simulation" in mix)) if mix else Counter[str]()
    del kinds[LEFT_OUT]
    take = _quota(kinds, mix) if mix else None
    beside = out.with_name(f"{out.stem}-test{out.suffix}")
    files = {"test": beside, "train": out} if test else {"train": out}
    counts = {name: Count() for name in files}
    described = out.parent / "README.md"
    try:
        ours = MARK in (there := described.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        ours, there = False, ""
    except OSError as error:
        raise InputError(f"can't read {described}: {error.strerror}") from None
    if there and not (ours and json.dumps(out.name) in there):
        raise InputError(f"{described} is not of this export, and would be overwritten; give --out a folder of its own")
    if not ours and out.exists():
        raise InputError(f"{out} is no export of ours, and would be overwritten; give another --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            writers = {name: stack.enter_context(_writer(path)) for name, path in files.items()}
            for example in _taken(run, format, take, seed):
                name = "test" if _drawn(f"split {seed} {example.asked}") < test else "train"
                if example.kind == LEFT_OUT:
                    counts[name].left_out += 1
                    continue
                writers[name](example.content)
                _count(counts[name], example)
            if not counts["train"].rows:
                raise InputError(f"{run.folder} holds nothing to export as {format}: no scene in it is done and fits")
        if not test:  # one of an earlier export would be of the same questions
            beside.unlink(missing_ok=True)
        options = {"mix": dict(mix), "test": test, "seed": seed}
        described.write_text(card(run, files, format, counts, options), encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't write {error.filename or out}: {error.strerror}") from None
    return counts


def _examples(run: Run, format: str, simulation: bool) -> Iterator[Example]:
    for answer, category, source in run.inputs.answers():
        kind, asked = category or "uncategorised", hashlib.sha256(answer.question.opening().encode()).hexdigest()
        assert answer.text is not None
        if format == "scenes" and answer.scene is None:
            yield Example(LEFT_OUT, source, asked, {}, "")
            continue
        if format == "scenes":
            content: Json = {"id": answer.id, "question": answer.question.text, "category": category}
            content |= {"initial": answer.initial, "revised": answer.text, "answer": answer.model_dump_json()}
            yield Example(kind, source, asked, content, answer.text)
            continue
        text = _ending_well(answer.text, answer.text_cut)
        messages = answer.question.messages()
        if format == "dpo":
            initial = _ending_well(answer.initial or "", answer.initial_cut)
            if initial and text and initial != text:
                prompt = [message.model_dump() for message in messages]
                pair = {"prompt": prompt, "chosen": [_turn_of(text)], "rejected": [_turn_of(initial)]}
                yield Example(kind, source, asked, pair, text, bool(answer.text_cut))
            else:
                yield Example(LEFT_OUT, source, asked, {}, "")
            continue
        if not text:
            yield Example(LEFT_OUT, source, asked, {}, "")
            continue
        yield Example(kind, source, asked, _conversation(messages, text, format), text, bool(answer.text_cut))
        if simulation:
            for request, reply in _calls(run, answer):
                yield Example("simulation", source, asked, _conversation(request, reply, format), reply)


def _ending_well(text: str, cut: Cut) -> str:
    """A text that is whole as it is; one that reached its longest length up to its last sentence; of others nothing."""
    if cut == "filter":
        return ""
    return whole_sentences(text) if cut else text.strip()


def whole_sentences(text: str) -> str:
    """A text that was cut off, up to the end of its last whole sentence or line; empty where there is none."""
    ends = [found.end() for found in re.finditer(r"[.!?…][\"'”’)*]*(?=\s|$)|(?<=[^\s:])(?=\n)", text)]
    return text[: ends[-1]].strip() if ends else ""


def _calls(run: Run, answer: Answer) -> Iterator[tuple[list[Message], str]]:
    """What the model was asked on the way to the answer, and what it said: all but the two answers to the user."""
    for call in answer.calls:
        if call.kind in ("initial", "revision") or call.cut or not call.key:
            continue
        for request, text in run.store.select("SELECT request, text FROM calls WHERE key = ?", call.key):
            yield [Message.model_validate(each) for each in json.loads(request)["messages"]], text


def _conversation(messages: list[Message], answer: str, format: str) -> Json:
    if format == FASTCHAT and len(messages) > 1 and messages[0].role == "system":
        first = Message(role=messages[1].role, content=f"{messages[0].content}\n\n{messages[1].content}")
        messages = [first, *messages[2:]]
    turns = [*(message.model_dump() for message in messages), _turn_of(answer)]
    if format == "sft":
        return {"messages": turns}
    return {"conversations": [{"from": SPEAKERS[turn["role"]], "value": turn["content"]} for turn in turns]}


def _turn_of(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _quota(there: Counter[str], mix: Mapping[str, float]) -> dict[str, tuple[int, int]]:
    """(how many to take, how many there are) of each kind."""
    wanted = {kind: share for kind, share in mix.items() if share > 0}
    if not wanted:
        raise InputError("--mix takes nothing: every share in it is 0")
    if missing := [kind for kind in wanted if not there[kind]]:
        known = ", ".join(f"{count:,} {kind}" for kind, count in sorted(there.items())) or "nothing"
        raise InputError(f"--mix wants {missing[0]} rows and there are none (there are {known}); see --category")
    whole = min(there[kind] / share for kind, share in wanted.items())
    return {kind: (int(whole * share + 1e-9), there[kind]) for kind, share in wanted.items()}


def _taken(run: Run, format: str, take: dict[str, tuple[int, int]] | None, seed: int) -> Iterator[Example]:
    """The examples to be written. Of each kind a sample of exactly as many as it is to have, in their order."""
    seen: Counter[str] = Counter()
    got: Counter[str] = Counter()
    for example in _examples(run, format, bool(take) and "simulation" in (take or {})):
        if take is None or example.kind == LEFT_OUT:
            yield example
            continue
        quota, there = take.get(example.kind, (0, 0))
        left = there - seen[example.kind]
        seen[example.kind] += 1
        # Selection sampling (Knuth, The Art of Computer Programming, vol. 2, 3.4.2, algorithm S).
        if (
            _drawn(f"mix {seed} {example.kind} {seen[example.kind]}") * left < quota - got[example.kind]
            and got[example.kind] < quota
        ):
            got[example.kind] += 1
            yield example


def _drawn(text: str) -> float:
    """A number in [0, 1) that the text alone decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def _count(count: Count, example: Example) -> None:
    count.rows += 1
    count.kinds[example.kind] += 1
    count.sources[example.source] += 1
    count.characters.append(len(example.answer))
    count.cut += example.cut
    count.refusals += example.kind != "simulation" and refuses(example.answer)


@contextmanager
def _writer(path: Path) -> Iterator[Write]:
    """Takes rows; the file appears under its name when it is whole."""
    half = path.with_name(f".{path.name}.part")
    writers: dict[str, Callable[[Path], AbstractContextManager[Write]]] = {".parquet": _parquet, ".json": _json}
    writing = writers.get(path.suffix, _jsonl)(half)
    try:
        with writing as write:
            yield write
        if half.exists() and half.stat().st_size > len("[]\n"):  # no row, no file
            os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)


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
    """Parquet of one table."""
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
