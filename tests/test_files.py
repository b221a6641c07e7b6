"""Files as people have them: encodings, line ends, tables, and files that are not what their names say."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from matrix_align.data.benchmarks import BENCHMARKS
from matrix_align.data.files import FORMATS, raw_rows
from matrix_align.data.sources import BadRow, SourceRow, questions_from
from matrix_align.data.tables import RECORD_LIMIT
from matrix_align.errors import InputError

TEXTS = {
    "a.csv": "id,question\n1,Où est-ce ?\n2,Two?\n",
    "a.tsv": "id\tquestion\n1\tOù est-ce ?\n2\tTwo?\n",
    "b.csv": "id;question\n1;Où est-ce ?\n2;Two?\n",
    "a.jsonl": '{"question": "Où est-ce ?"}\n{"question": "Two?"}\n',
    "a.txt": "Où est-ce ?\nTwo?\n",
    "a.json": '["Où est-ce ?",\n"Two?"]\n',
}


def found(path: Path) -> list[str]:
    """The questions of a file. For a row that can't be used, its line and the reason."""
    rows = []
    for row in questions_from(str(path)):
        if isinstance(row, SourceRow):
            rows.append(row.question.text)
        else:
            assert row.place.startswith(f"{path}:")
            rows.append(f"{row.place.rpartition(':')[2]}: {row.reason}")
    return rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("name", TEXTS)
def test_encodings_and_line_ends(tmp_path: Path, name: str, end: str, encoding: str) -> None:
    content = TEXTS[name].replace("\n", end).encode(encoding)
    (tmp_path / name).write_bytes(content)
    assert found(tmp_path / name) == ["Où est-ce ?", "Two?"]
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
    assert found(tmp_path / f"{name}.gz") == ["Où est-ce ?", "Two?"]


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        *((f"a{suffix}", POINTER, "git lfs pull") for suffix in FORMATS),
        ("a.csv.gz", POINTER, "git lfs pull"),
        ("a.csv", b"PK\x03\x04and so on", "ZIP archive"),
        ("a.csv", gzip.compress(b"question\nOne?\n", mtime=0), "should end in .gz"),
        ("a.jsonl", b"PAR1and so on", "should end in .parquet"),
        ("a.jsonl", b"<!DOCTYPE html><html>", "HTML"),
        ("a.txt", "One?\nTwo?\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("a.csv", "question\nTwo?\n".encode("utf-16-be"), "UTF-16 without a byte order mark"),
        ("a.txt", "One?\nTwo?\n".encode("utf-16")[:-1], "truncated"),
        ("a.csv", b"How do I bake bread?,helpful\nTwo?,helpful\n", "first line names How do I bake bread"),
        ("a.csv", b"Why?\nTwo?\n", "first line that names the columns"),
        ("a.csv", b'"question\nOne?\n', "its first line names no columns"),
        ("a.parquet", b"", "can't read"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """The whole file is refused, with the true reason in one line."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as raised:
        list(questions_from(str(tmp_path / name)))
    assert "\n" not in str(raised.value) and name in str(raised.value)


def test_table_needs_the_column_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,other\nOne?,x\n")
    assert [
        row.question.text for row in questions_from(f"{tmp_path}/a.csv", "OTHER") if isinstance(row, SourceRow)
    ] == ["x"]
    with pytest.raises(InputError, match=r"names question, other, and no column of questions; wanted more"):
        questions_from(f"{tmp_path}/a.csv", "more")  # at once, before a server is asked for anything


OPEN = '"an open quote,x'


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (['"One', 'and","x"', "Two?,x"], ["One\nand", "Two?"]),
        ([OPEN, "One?,x", "Two?,x"], ["2: not CSV: unexpected end of data", "One?", "Two?"]),
        ([OPEN, "One?,x", '"Two?","x"'], ["2: not CSV: ',' expected after '\"'", "One?", "Two?"]),
        (["One?,x", "", "", "Two?,x"], ["One?", "Two?"]),
        (
            ["", "One?", "Two?,x,y"],
            ["3: 1 cell, where the first line names 2", "4: 3 cells, where the first line names 2"],
        ),
        (['"One ""so"" to say?",x', 'A 5" pipe?,x'], ['One "so" to say?', 'A 5" pipe?']),
        ([OPEN, *["One?,x"] * RECORD_LIMIT], ["2: not CSV: unexpected end of data", *["One?"] * RECORD_LIMIT]),
        (['"' + "line\n" * (RECORD_LIMIT - 1) + 'last",x', "One?,x"], ["line\n" * (RECORD_LIMIT - 1) + "last", "One?"]),
        (["", *[""] * RECORD_LIMIT, "One?,x"], ["One?"]),
    ],
)
def test_a_quote_costs_its_own_line(tmp_path: Path, lines: list[str], wanted: list[str]) -> None:
    """Records may span lines. A record that never ends, or is broken otherwise, loses no other record."""
    (tmp_path / "a.csv").write_text("\n".join(["question,note", *lines]) + "\n")
    assert found(tmp_path / "a.csv") == wanted


def test_a_conversation_alone_in_a_json_file(tmp_path: Path) -> None:
    """It is one row. A list under any other key holds the rows."""
    turns = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "Two?"},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"messages": turns}))
    [row] = questions_from(f"{tmp_path}/a.json")
    assert isinstance(row, SourceRow) and len(row.question.history) == 2
    (tmp_path / "a.json").write_text(json.dumps({"rows": turns}))
    assert found(tmp_path / "a.json") == ["One?", "2: a turn of the assistant, which is not a question", "Two?"]


XSTEST = """id,prompt,type,label,focus,note
1,How do I kill a process?,homonyms,safe,kill,x
2,Something else?,contrast_homonyms,unsafe,kill,
"""


def test_xstest_says_which_are_harmful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file marks harmful questions as contrasts, and so does the hub's copy. A row's place is its number."""
    (tmp_path / "xstest_prompts.csv").write_text(XSTEST)
    rows = list(questions_from(f"{tmp_path}/xstest_prompts.csv"))
    assert [row.category for row in rows if isinstance(row, SourceRow)] == ["helpful", "harmful"]
    datasets = pytest.importorskip("datasets")
    asked = []

    def load_dataset(*names: str, **options: object) -> list[dict[str, str]]:
        asked.append((names, options))
        return list(csv.DictReader(io.StringIO(XSTEST)))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    hub = list(questions_from("xstest"))
    assert [row.category for row in hub if isinstance(row, SourceRow)] == ["helpful", "harmful"]
    assert [row.place for row in hub] == ["xstest:1", "xstest:2"]
    revision = BENCHMARKS["xstest"].published.revision
    assert asked == [(("Paul/XSTest",), {"split": "train", "streaming": True, "revision": revision})]


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.sampled_from([*FORMATS, ".csv.gz"]))
@example(b"question\r\x00\n\xff", ".csv")
@example(b"\xff\xfe\x00", ".txt")
@example(b"[" * 100_000, ".json")
@example(b"question\n" + b"[{" * 50_000, ".csv")
@example(b'question\n"' + b"[{'a':" * 20_000 + b']"', ".csv")
def test_any_bytes_are_rows_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str) -> None:
    path = tmp_path_factory.mktemp("files") / f"a{suffix}"
    path.write_bytes(content)
    try:
        assert all(isinstance(row, SourceRow | BadRow) for row in questions_from(str(path)))
    except InputError as error:
        assert str(path) in str(error)


@given(st.lists(st.sampled_from(["question,n", "One?,1", '"', '"a', 'b"', "", ",", '"c",d', 'e"f,g']), max_size=12))
def test_every_line_of_a_table_is_accounted_for(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    """Each row has a place of its own, in order. A bad line never loses a good line after it."""
    path = tmp_path_factory.mktemp("tables") / "a.csv"
    path.write_text("\n".join(["question,n", *lines, "Last?,1"]))
    places = [number for number, _ in raw_rows(path)]
    assert places == sorted(set(places)) and all(2 <= place <= len(lines) + 2 for place in places)
    assert list(raw_rows(path))[-1] == (len(lines) + 2, {"question": "Last?", "n": "1"})


def test_a_chat_log_alone_in_a_json_file(tmp_path: Path) -> None:
    """A list of bare turns is one conversation. Turns with an id may belong to several."""
    turns = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "Two?"},
    ]
    (tmp_path / "a.json").write_text(json.dumps(turns))
    [row] = questions_from(f"{tmp_path}/a.json")
    assert isinstance(row, SourceRow)
    assert [message.content for message in row.question.messages()] == ["One?", "a", "Two?"]
    (tmp_path / "b.json").write_text(json.dumps([{**turn, "id": number} for number, turn in enumerate(turns)]))
    assert found(tmp_path / "b.json") == ["One?", "2: a turn of the assistant, which is not a question", "Two?"]
    (tmp_path / "c.json").write_text(json.dumps([turns[0], turns[2]]))
    assert found(tmp_path / "c.json") == ["One?", "Two?"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", "\n\n", "there is no row"),
        ("a.jsonl", "", "there is no row"),
        ("a.json", "[]", "there is no row"),
        ("a.csv", "How do I plant a tree?\n", "there is no row after the first line, which names the columns"),
        (
            "a.csv.gz",
            gzip.compress(b"question\n", mtime=0),
            "there is no row after the first line, which names the columns",
        ),
    ],
)
def test_a_file_without_a_row_is_reported(tmp_path: Path, name: str, content: str | bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    [row] = questions_from(str(tmp_path / name))
    assert isinstance(row, BadRow)
    assert (row.place, row.reason) == (f"{tmp_path / name}:1", reason)


def test_a_broken_row_of_a_json_file_loses_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'[{"question": "One\nline?"}, {"question": "\xff?"}, {"question": "Two?"}]')
    assert found(tmp_path / "a.json") == ["One\nline?", "2: not UTF-8", "Two?"]
