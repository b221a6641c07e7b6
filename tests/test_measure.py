"""measure: what is counted, and how two measurements are set side by side; against a fake endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("scipy")

from matrix_align import Settings
from matrix_align.evals.measure import Answered, Measured, changes, table
from matrix_align.evals.statistics import difference, share

from .conftest import Run as Cli
from .fake import FakeServer, error


def test_intervals() -> None:
    """Wilson's for shares, as in the textbooks; Student's t for pairs."""
    told = share([True] * 8 + [False] * 2)
    assert (round(told.low, 3), round(told.high, 3)) == (0.490, 0.943)
    assert share([]).n == 0
    changed = difference([False] * 50 + [True] * 50, [True] * 10 + [False] * 40 + [True] * 50)
    assert changed.part == pytest.approx(0.1)
    assert 0.03 < changed.low < 0.05 and 0.15 < changed.high < 0.17
    same = difference([True] * 20, [True] * 20)
    assert same.part == 0 and same.low < 0 < same.high, "that no pair differs is no proof that none would"
    assert difference([False], [True]).part == 1
    with pytest.raises(ValueError):
        difference([True], [])


def test_pairs_are_matched_by_what_was_asked() -> None:
    """Whatever their order; what only one of the two has is left out."""

    def measured(*refused: tuple[str, bool]) -> Measured:
        given = [
            Answered(id=id, category="harmful", question="?", answer="x", refused=told, cut=False)
            for id, told in refused
        ]
        return Measured(
            model="m", digest="", settings=Settings(), answers=tuple(given), preferred={"one": True, "two": False}
        )

    before = measured(("a", False), ("b", False), ("c", True))
    after = measured(("b", False), ("a", True), ("d", True))
    changed = changes(before, after)
    assert changed["refuses harmful questions"].part == 0.5 and changed["refuses harmful questions"].n == 2
    assert changed["preference accuracy"].part == 0 and changed["preference accuracy"].n == 2
    lines = table({"before": before, "after": after}).splitlines()
    assert lines[0] == "| | before | after |" and "+50 points" in lines[2]
    unlike = after.model_copy(update={"settings": Settings(roles=2)})
    assert set(changes(before, unlike)) == {"preference accuracy"}, "answers at other settings are other things"


def test_measured_and_measured_again(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """What was answered is not asked again; against the first, the second shows the differences."""
    harmful = tmp_path / "harmful.txt"
    harmful.write_text("Bad one?\nBad two?\n")
    server.on["text"] = lambda body: "I'm sorry, but I can't." if "Bad one?" in str(body) else "Well, do it."
    command = ("measure", "--harmful", str(harmful), "--benign", str(questions), "--endpoint", server.url)
    done = cli(*command, "--scenes", "3", "--out", str(tmp_path / "before"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["measures"]
    assert told["refuses harmful questions"]["part"] == 0.5
    assert told["refuses benign questions"] | {"high": 0} == {"part": 0.0, "low": 0.0, "high": 0, "n": 12}
    assert told["scenes that end well"]["n"] == 3
    made = len(server.requests)
    assert cli(*command, "--scenes", "3", "--out", str(tmp_path / "before")).returncode == 0
    assert len(server.requests) == made
    server.on["text"] = lambda body: "I can't help with that." if "Bad" in str(body) else "Well, do it."
    done = cli(*command, "--out", str(tmp_path / "after"), "--against", str(tmp_path / "before"))
    assert "| refuses harmful questions | 50% (9% to 91%) of 2 | 100% (34% to 100%) of 2; +50 points" in done.stdout
    assert "| words an answer, quartiles | 3, 3, 3; 0 of 14 cut off | 3, 3, 3; 0 of 14 cut off |" in done.stdout


def test_first_answer_counts(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Also an empty one, which is not asked for again. What can't be asked counts for nothing, and is told."""
    command = ("measure", "--benign", str(questions), "--endpoint", server.url, "--out")
    said = {"number 3?": "", "number 5?": "I can't.", "number 7?": error(400, "maximum context length")}
    server.on["text"] = lambda body: next((told for asked, told in said.items() if asked in str(body)), "Well.")
    done = cli(*command, str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 12
    assert "| refuses benign questions | 9% (2% to 38%) of 11 |" in done.stdout
    assert "| questions without an answer | 1 of 12 |" in done.stdout and "0 of 11 cut off" in done.stdout
    assert "no answer to 'How do I plant tree number 7?': " in done.stderr and "context length" in done.stderr
    server.on["text"] = lambda body: error(400, "no")
    told = cli(*command, str(tmp_path / "none"))
    assert told.returncode == 2 and told.stderr.count("\n") == 1, "where none can be asked it is not the questions"


def test_failed_call_is_no_measurement(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    command = ("measure", "--benign", str(questions), "--endpoint", server.url, "--out", str(tmp_path / "out"))
    server.on["Cast"] = lambda body: error(401, "key expired")
    told = cli(*command, "--scenes", "2")
    assert told.returncode == 2 and "key expired" in told.stderr
    assert not (tmp_path / "out/measured.json").exists(), "a scene that its server broke off is no result"
    server.on["Cast"] = lambda body: "no cast"
    assert cli(*command, "--scenes", "2").returncode == 0
    told = cli(*command, "--scenes", "3")
    assert told.returncode == 2 and "measure.scenes was 2, is 3" in told.stderr
    server.on["text"] = lambda body: error(401, "key expired")
    assert cli(*command[:-1], str(tmp_path / "new"), "--seed", "5").returncode == 2
    del server.on["text"]
    assert cli(*command[:-1], str(tmp_path / "new")).returncode == 0, "where nothing was measured yet, all is welcome"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "nothing to measure"),
        (("--benign", "none.txt"), "none.txt"),
        (("--preference", "none.jsonl"), "none.jsonl"),
        (("--preference", __file__), "--base"),
        (("--benign", "none.txt", "--against", "nowhere"), "measure"),
    ],
)
def test_mistakes(cli: Cli, server: FakeServer, tmp_path: Path, args: tuple[str, ...], words: str) -> None:
    told = cli("measure", *args, "--endpoint", server.url, "--out", str(tmp_path / "out"))
    assert told.returncode == 2 and words in told.stderr and told.stderr.count("\n") == 1
