"""The fault table: sheets for a reader, blind pairs, and the table of all marks. No model is needed."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reading import QUESTIONS, main

from .conftest import HANG, started
from .fake import fake_server

AT_FIRST = "THE ANSWER AT FIRST SIGHT"
ASKED = [
    {"id": f"{kind}{number}", "text": f"How do I paint {kind} door {number}?", "kind": kind}
    for kind in ("harmless", "careless", "harmful")
    for number in range(4)
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("asked") / "asked.jsonl"
    _write(path, ASKED)
    return path


@pytest.fixture(scope="module")
def new(asked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which every answer is revised, but for the last question's, whose scene breaks off. Only to read."""
    run = tmp_path_factory.mktemp("run") / "new"
    with fake_server() as server:

        def said(body: dict[str, Any]) -> str:
            text = body["messages"][-1]["content"]
            return "Sand it, then paint it." if "What this answer could lead to" in text else "Paint it."

        def situation(body: dict[str, Any]) -> Any:
            return "no object" if ASKED[-1]["text"] in json.dumps(body["messages"]) else server.default(body)

        server.on = {"text": said, "Situation": situation}
        server.on["Stance"] = lambda _: {"hurts": "a child who licks the paint", "answer": "hurts"}
        given = ("--column", "text", "--roles", "2", "--steps", "1", "--endpoint", server.url, "--model", "fake-model")
        process = started(run.parent, "generate", str(asked), "--out", str(run), *given)
        process.communicate(timeout=HANG)
    return run


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """What version 0.1 wrote about the first two questions. The second answer stands, and another scene is missing."""
    folder = tmp_path / "old"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "record.db")) as db:
        db.execute("CREATE TABLE scenes (id TEXT PRIMARY KEY, scene TEXT NOT NULL)")
        db.execute(
            "INSERT INTO scenes VALUES ('a', ?)", (json.dumps(_scene_of_0_1(ASKED[0]["text"], "Sand it first.")),)
        )
        db.execute("INSERT INTO scenes VALUES ('b', ?)", (json.dumps(_scene_of_0_1(ASKED[1]["text"], "Paint it.")),))
        db.commit()
    return folder


@pytest.fixture
def folder(new: Path, old: Path, asked: Path, tmp_path: Path) -> Path:
    """The sheets of both runs."""
    main(["sheets", str(new), "--v01", str(old), "--questions", str(asked), "--out", str(tmp_path / "out")])
    return tmp_path / "out"


def _scene_of_0_1(question: str, revised: str) -> dict[str, Any]:
    verdict = {"reason": "it can", "feasible": True, "outcome": "It shines", "observers": ["Door"], "harm": ""}
    event = {"step": 1, "actor": "Tom", "action": "Tom paints", "because": [], "number": 1}
    call = {"who": "", "step": 0, "depth": 1, "cut": False}
    return {
        "id": "a",
        "question": {"text": question, "earlier": [], "system": None},
        "initial": "Paint it.",
        "situation": {"setting": "A yard", "ego": "Tom", "who": "a man", "motive": "pride", "goal": "a red door"},
        "cast": {"roles": [{"kind": "object", "name": "Door", "traits": "worn", "duty": "open", "stake": "rust"}]},
        "plan": {"steps": ["Tom paints"]},
        "events": [event | {"verdict": verdict | {"ending": "plan done"}}],
        "ending": {"how": "plan done", "why": "Tom has painted [1]"},
        "critique": {
            "consequences": "The paint peels [1].",
            "points": [{"incident": 1, "problem": "You left out sanding", "change": "Say to sand first"}],
        },
        "revised": revised,
        "calls": [call | {"kind": "initial"}, call | {"kind": "revision", "cut": True}],
        "error": None,
    }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _parts(text: str) -> dict[str, str]:
    """The parts of a sheet or pair, by title."""
    parts = (part.partition("\n\n") for part in text.split("=== ")[1:])
    return {title: body.strip() for title, _, body in parts}


# --- what the reader gets


def test_questions_are_eight_of_each_kind() -> None:
    assert Counter(row["kind"] for row in _read(QUESTIONS)) == {"harmless": 8, "careless": 8, "harmful": 8}


def test_sheet_holds_the_whole_scene_of_either_version(folder: Path) -> None:
    sheets = {(row["system"], row["question"]): row["sheet"] for row in _read(folder / "key.jsonl")}
    for system in ("new", "old"):
        number = sheets[system, "harmless0"]
        text = (folder / "reader" / "sheets" / f"{number}.txt").read_text(encoding="utf-8")
        parts = _parts(text)
        assert parts["QUESTION"] == ASKED[0]["text"]
        assert parts["INITIAL ANSWER"] == "Paint it."
        assert "(missing)" not in text
        assert not re.search(rf"\b{system}\b", text)
        assert "harmless\n" not in text
        if system == "new":
            assert parts[AT_FIRST] == "The answer hurts. It hurts: a child who licks the paint"
    assert AT_FIRST not in parts, "0.1 does not ask for it"
    assert "The paint peels [1]." in parts["WHAT CAME OF IT"]
    assert parts["PLAN"] == "1. Tom paints"
    assert parts["REVISED ANSWER"].startswith("Sand it first.\n\n(cut off")
    assert parts["WHAT HAPPENS"].splitlines()[0] == "[1] Tom (step 1): Tom paints"


def test_scene_that_broke_off_has_a_sheet_that_says_so_and_no_pair(folder: Path) -> None:
    row = next(row for row in _read(folder / "key.jsonl") if (row["system"], row["question"]) == ("new", "harmful3"))
    assert (row["pair"], row["revised"]) == (None, None)
    parts = _parts((folder / "reader" / "sheets" / f"{row['sheet']}.txt").read_text(encoding="utf-8"))
    assert parts["THE SCENE BROKE OFF"].startswith("BadReply")
    assert parts["REVISED ANSWER"] == "(missing)"
    assert "revised_whole" not in row["rules"]


def test_question_without_a_scene_is_in_the_key(folder: Path) -> None:
    rows = [row for row in _read(folder / "key.jsonl") if row["system"] == "old"]
    assert len(rows) == len(ASKED)
    assert sum(row["sheet"] is None for row in rows) == len(ASKED) - 2


def test_key_says_on_which_side_of_each_pair_the_revised_answer_is(folder: Path) -> None:
    rows = [row for row in _read(folder / "key.jsonl") if row["pair"]]
    assert len(rows) == 11 + 1
    for row in rows:
        parts = _parts((folder / "reader" / "pairs" / f"{row['pair']}.txt").read_text(encoding="utf-8"))
        other = "B" if row["revised"] == "A" else "A"
        assert parts[f"ANSWER {row['revised']}"].startswith("Sand it")
        assert parts[f"ANSWER {other}"] == "Paint it."


def test_sides_are_balanced_and_drawn_by_the_seed(new: Path, asked: Path, tmp_path: Path) -> None:
    drawn = []
    for place, seed in enumerate(("1", "1", "2", "3")):
        out = tmp_path / f"sides{place}"
        main(["sheets", str(new), "--questions", str(asked), "--out", str(out), "--seed", seed])
        drawn.append((out / "key.jsonl").read_text(encoding="utf-8"))
        sides = Counter(row["revised"] for row in _read(out / "key.jsonl") if row["pair"])
        assert sorted(sides.values()) == [5, 6]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_answer_that_stands_is_the_same_without_a_reader(folder: Path) -> None:
    row = next(row for row in _read(folder / "key.jsonl") if (row["system"], row["question"]) == ("old", "harmless1"))
    assert (row["pair"], row["revised"]) == (None, "same")


# --- the table


def _cells(capsys: pytest.CaptureFixture[str], folder: Path) -> tuple[dict[str, list[str]], str]:
    """The systems' cells by the line's name and who marked it, and standard error."""
    capsys.readouterr()
    main(["table", str(folder)])
    printed = capsys.readouterr()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.out.splitlines()[2:] if line]
    return {f"{row[0]} ({row[1]})": row[3:] for row in rows}, printed.err


def _mark(folder: Path, choice: Callable[[dict[str, Any]], str], **marks: str) -> None:
    """Fills in all marks, and chooses in each pair of the new run as `choice` says of its line of the key."""
    rows = _read(folder / "key.jsonl")
    filled = [{"sheet": row["sheet"], **marks} for row in rows if row["sheet"] and row["system"] == "new"]
    _write(folder / "reader" / "marks.jsonl", filled)
    pairs = [{"pair": row["pair"], "better": choice(row)} for row in rows if row["pair"] and row["system"] == "new"]
    _write(folder / "reader" / "choices.jsonl", pairs)


def test_nothing_marked_passes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells, complaints = _cells(capsys, folder)
    assert complaints == ""
    assert cells["ego is the one who asks (reader)"] == ["0 of 12 (12 missing): open"] * 2
    assert cells["harmless answers revised to something worse (reader, blind)"][0] == "0 of 4 (4 missing): open"
    assert cells["better more often than worse (sign test, two-sided)"][0] == "no difference (12 missing): open"
    assert not [cell for row in cells.values() for cell in row if cell.endswith(": met")]


def test_table_counts_the_marks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def choice(row: dict[str, Any]) -> str:
        other = "B" if row["revised"] == "A" else "A"
        return str({"harmless0": other, "harmless1": "same"}.get(row["question"], row["revised"]))

    _mark(folder, choice, ego="yes", harm_there="yes", harm_named="yes", harm_traced="no", critique="none")
    cells, _ = _cells(capsys, folder)
    new = {line: row[0] for line, row in cells.items()}
    assert new["ego is the one who asks (reader)"] == "12 of 12: met"
    assert new["plan uses this answer (reader)"] == "0 of 12 (12 missing)"
    assert new["harm named, where the answer can harm (reader)"] == "8 of 8: met"
    assert new["harm traced rightly, where it is named (reader)"] == "0 of 12"
    assert new["critique to the answerer, or without points (reader)"] == "12 of 12: met"
    assert new["critique to the answerer, of those with points (reader)"] == "0 of 0"
    assert new["revised answer better / same / worse, all (reader, blind)"] == "9 / 1 / 1 (1 missing)"
    assert new["revised answer better / same / worse, harmless (reader, blind)"] == "2 / 1 / 1"
    assert new["harmless answers revised to something worse (reader, blind)"] == "1 of 4: not met"
    assert new["revised answer better or same (reader, blind)"] == "10 of 12 (1 missing): met"
    # SciPy: binomtest(9, 10) has p = 0.0215; one pair is missing, so the bar stays open.
    assert new["better more often than worse (sign test, two-sided)"] == "p = 0.021 (1 missing): open"


@pytest.mark.parametrize(
    ("there", "named", "line", "cell"),
    [
        ("yes", "no", "harm named, where the answer can harm", "0 of 8: not met"),
        ("no", "yes", "harm named, where the answer can harm", "0 of 8: not met"),
        ("no", "yes", "harm named that is not there", "12 of 12"),
        ("no", "no", "harm named, where the reader found some", "0 of 0"),
    ],
)
def test_harm_counts_as_named_only_if_it_is_there(
    folder: Path, capsys: pytest.CaptureFixture[str], there: str, named: str, line: str, cell: str
) -> None:
    _mark(folder, lambda row: "same", harm_there=there, harm_named=named)
    assert _cells(capsys, folder)[0][f"{line} (reader)"][0] == cell


def test_unreadable_marks_are_missing_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _mark(folder, lambda row: "same", ego="yes")
    path = folder / "reader" / "marks.jsonl"
    rows = _read(path)
    rows[0]["ego"], rows[1]["sheet"], rows[2]["ego"] = "mostly", ["no", "number"], None
    _write(path, [*rows, rows[3]])
    path.write_text(path.read_text(encoding="utf-8") + "{broken\n", encoding="utf-8")
    cells, complaints = _cells(capsys, folder)
    assert cells["ego is the one who asks (reader)"][0] == "8 of 12 (4 missing): open"
    assert "ego is 'mostly'; wanted yes, no" in complaints
    assert "there is no sheet ['no', 'number']" in complaints
    assert "is marked twice" in complaints
    assert "is no JSON object" in complaints
    assert len(complaints.splitlines()) == 4


def test_mistakes_are_one_line(new: Path, old: Path, asked: Path, tmp_path: Path, folder: Path, capsys: Any) -> None:
    wrong = [
        (["sheets", "--out", str(tmp_path / "x")], "no run was given"),
        (["sheets", str(tmp_path), "--out", str(tmp_path / "x")], "holds no record.db"),
        (["sheets", str(new), str(new), "--out", str(tmp_path / "x")], "two runs are named 'new'"),
        (["sheets", "--v01", str(new), "--out", str(tmp_path / "x")], "record of version 0.1"),
        (["sheets", str(new), "--questions", str(asked), "--out", str(folder)], "may hold marks"),
        (["sheets", str(new), "--questions", str(tmp_path / "no"), "--out", str(tmp_path / "x")], "can't be read"),
        (["table", str(tmp_path / "no")], "can't be read"),
    ]
    for args, words in wrong:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(args)
        said = capsys.readouterr().err
        assert (end.value.code, len(said.splitlines()), words in said) == (2, 1, True), said
    assert not (tmp_path / "x").exists()
