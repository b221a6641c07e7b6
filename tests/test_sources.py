"""Sources: every file format, the benchmarks' own formats, and bad rows beside good ones."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_align.data.files import LINE_LIMIT
from matrix_align.data.sources import BadRow, SourceRow, questions_from
from matrix_align.errors import InputError
from matrix_align.types import Question

SAMPLES = Path(os.environ.get("MATRIX_ALIGN_SAMPLES") or "none")  # real rows of the benchmarks, where somebody has them


def texts(path: Path | str, **given: Any) -> list[str]:
    rows = list(questions_from(str(path), **given))
    assert not [row for row in rows if isinstance(row, BadRow)], rows
    return [row.question.text for row in rows if isinstance(row, SourceRow)]


def written(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "One?\n\nTwo?\r\n"),
        ("a.jsonl", '{"question": "One?"}\n{"question": "Two?"}\n'),
        ("a.jsonl", '"One?"\n"Two?"'),
        ("a.json", '[{"prompt": "One?"}, {"prompt": "Two?"}]'),
        ("a.json", '["One?", "Two?"]'),
        ("a.csv", 'id,question\n1,One?\n2,"Two?"\n'),
        ("a.csv", "\ufeffgoal,target\nOne?,Sure\nTwo?,Sure\n"),
    ],
)
def test_formats(tmp_path: Path, name: str, content: str, packed: str) -> None:
    assert texts(written(tmp_path / f"{name}{packed}", content)) == ["One?", "Two?"]


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.table({"prompt": ["One?", "Two?"]}), tmp_path / "a.parquet")
    assert texts(tmp_path / "a.parquet") == ["One?", "Two?"]


def test_benchmarks_own_formats(tmp_path: Path) -> None:
    """AdvBench, HarmfulQA, HH-RLHF, PKU-SafeRLHF and Vicuna bench, in small files of the same form."""
    assert texts(written(tmp_path / "harmful_behaviors.csv", "goal,target\nOne?,Sure\n")) == ["One?"]
    nested = written(tmp_path / "harmfulqa.json", json.dumps({"Topic": {"Part": ["One?"], "Other": ["Two?"]}}))
    assert [row.category for row in questions_from(str(nested)) if isinstance(row, SourceRow)] == ["harmful", "harmful"]
    assert texts(nested) == ["One?", "Two?"]
    dialogue = "\n\nHuman: Hello\n\nAssistant: Hi.\n\nHuman: And how?\n\nAssistant: So."
    row = next(
        questions_from(str(written(tmp_path / "hh.jsonl.gz", json.dumps({"chosen": dialogue, "rejected": dialogue}))))
    )
    assert isinstance(row, SourceRow)
    assert row.question.text == "And how?"
    assert [(turn.role, turn.content) for turn in row.question.history] == [("user", "Hello"), ("assistant", "Hi.")]
    pku = {"prompt": "One?", "response_0": "a", "response_1": "b", "is_response_0_safe": True}
    assert texts(written(tmp_path / "pku.jsonl", json.dumps(pku))) == ["One?"]
    vicuna = {"question_id": 1, "category": "generic", "turns": ["One?", "And then?"]}
    assert texts(written(tmp_path / "vicuna.jsonl", json.dumps(vicuna))) == ["One?"]


def test_conversations(tmp_path: Path) -> None:
    """From chat messages and ShareGPT's turns: the last question with what was before it.

    An answer at the end is dropped.
    """
    turns = [("system", "Be kind."), ("user", "One?"), ("assistant", "Yes."), ("user", "Two?"), ("assistant", "No.")]
    messages = {"messages": [{"role": role, "content": text} for role, text in turns]}
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    shared = {"conversations": [{"from": names[role], "value": text} for role, text in turns]}
    path = written(tmp_path / "a.jsonl", f"{json.dumps(messages)}\n{json.dumps(shared)}\n")
    one, other = (row.question for row in questions_from(str(path)) if isinstance(row, SourceRow))
    assert one == other
    assert (one.text, one.system, len(one.history)) == ("Two?", "Be kind.", 2)


BROKEN = [
    b'{"question": "Good one?"}',
    b'{"question": "\xff\xfe"}',
    b'{"question": ',
    b'{"other": 1}',
    b'{"question": "   "}',
    b"[1, 2]",
    b'{"question": "' + b"a" * (10 * 2**20) + b'"}',
    b'{"question": "Good\\u0000 two?"}',
    b'{"question": 5}',
    b'{"question": "Good three?"}',
]


def test_broken_rows_lose_no_good_one(tmp_path: Path) -> None:
    """Bad UTF-8, bad JSON, a missing column, an empty row, 10 MB, NUL: each is named by file and line."""
    rows = list(questions_from(str(written(tmp_path / "a.jsonl", b"\n".join(BROKEN)))))
    assert [row.question.text for row in rows if isinstance(row, SourceRow)] == [
        "Good one?",
        "Good two?",
        "Good three?",
    ]
    faults = {row.place: row.reason for row in rows if isinstance(row, BadRow)}
    assert list(faults) == [f"{tmp_path}/a.jsonl:{line}" for line in (2, 3, 4, 5, 6, 7, 9)]
    for line, words in {2: "UTF-8", 3: "JSON", 4: "--column", 5: "empty", 7: f"{LINE_LIMIT:,}", 9: "int"}.items():
        assert words in faults[f"{tmp_path}/a.jsonl:{line}"]


def test_broken_csv_rows_lose_no_good_one(tmp_path: Path) -> None:
    lines = [
        b"question,note",
        b"Good one?,a",
        b"\xff\xfe,b",
        b"too few",
        b",c",
        b"Good \x00two?,d",
        b'"Good',
        b'three?",e',
    ]
    rows = list(questions_from(str(written(tmp_path / "a.csv", b"\n".join(lines)))))
    good = [row.question.text for row in rows if isinstance(row, SourceRow)]
    assert good == ["Good one?", "Good two?", "Good\nthree?"]
    assert [row.place for row in rows if isinstance(row, BadRow)] == [f"{tmp_path}/a.csv:{line}" for line in (3, 4, 5)]


def test_rows_under_one_key_and_names_that_are_broken(tmp_path: Path) -> None:
    """A list under one key holds the rows and names no benchmark.

    A fault never carries text that the record rejects.
    """
    data = {"data": [{"question": "A?", "answer": "B", "id": "7"}]}
    assert texts(written(tmp_path / "a.json", json.dumps(data))) == ["A?"]
    [fault] = questions_from(str(written(tmp_path / "a.jsonl", b'{"\\ud800": 1}')))
    assert isinstance(fault, BadRow)
    assert fault.reason.encode()


def test_column_and_category(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"a": "One?", "question": "Two?", "category": "harmful"}')
    row = next(questions_from(str(path), "a"))
    assert isinstance(row, SourceRow)
    assert (row.question.text, row.category) == ("One?", "harmful")
    row = next(questions_from(str(path), category="helpful"))
    assert isinstance(row, SourceRow)
    assert row.category == "helpful"
    fault = next(questions_from(str(path), "b"))
    assert isinstance(fault, BadRow)
    assert "'b'" in fault.reason


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.txt", None, "No such file or directory; wanted the path of a file from /"),
        ("a.xml", "", "is not a source"),
        ("noend", "", "is not a source"),
        ("a.json", "{", "not JSON"),
        ("a.txt.gz", b"no gzip", "can't read"),
        ("b.txt.gz", gzip.compress(b"One?" * 1000, mtime=0)[:-20], "can't read"),
    ],
)
def test_source_that_can_not_be_read(tmp_path: Path, name: str, content: str | bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=words):
        list(questions_from(str(tmp_path / name)))


@given(st.lists(st.text(min_size=1).filter(lambda text: text.strip("\0 \t\r\n\v\f")), min_size=1, max_size=20))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, asked: list[str]) -> None:
    """Any questions, as JSON lines and as CSV, come back as Question accepts them."""
    folder = tmp_path_factory.mktemp("sources")
    wanted = []
    for text in asked:
        try:
            wanted.append(Question(text=text).text)
        except ValueError:
            return
    lines = "\n".join(json.dumps({"question": text}) for text in asked)
    assert texts(written(folder / "a.jsonl", lines)) == wanted
    with open(folder / "a.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["question", "id"], *([text, 1] for text in asked)])
    assert texts(folder / "a.csv") == wanted


@pytest.mark.skipif(not SAMPLES.exists(), reason="MATRIX_ALIGN_SAMPLES names no folder")
def test_real_samples() -> None:
    counts = {"advbench_harmful_behaviors.csv": 100, "harmfulqa.json": 98, "vicuna_bench_question.jsonl": 80}
    for path, count in counts.items():
        assert len(texts(SAMPLES / path)) == count
    categories = [
        row.category for row in questions_from(str(SAMPLES / "xstest_prompts.csv")) if isinstance(row, SourceRow)
    ]
    assert (categories.count("helpful"), categories.count("harmful")) == (42, 33)
    rows = list(questions_from(str(SAMPLES / "hh-rlhf-harmless-base-test.jsonl.gz")))
    assert len([row for row in rows if isinstance(row, SourceRow)]) == 400
