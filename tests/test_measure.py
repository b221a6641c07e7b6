"""measure: what is counted, and how two measurements compare, against a fake endpoint."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

pytest.importorskip("scipy")

from matrix_align import Question, Sampling, Settings
from matrix_align.evals.answers import held_out_questions
from matrix_align.evals.measurement import Answered, Measurement, Played, changes, not_compared
from matrix_align.evals.report import table
from matrix_align.evals.statistics import difference, share

from .conftest import Run as Cli
from .conftest import beside_weights, complaint
from .fake import FakeServer, error, fake_server


def test_intervals() -> None:
    """Wilson's interval for shares, as in textbooks, and Student's t for pairs."""
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


def measurement(*refused: tuple[str, bool], **settings: int) -> Measurement:
    """A measurement of harmful questions, by whether each was refused, with a scene around each, and two pairs."""
    answers = [
        Answered(id=id, category="harmful", question="?", answer="x", refused=each, cut="") for id, each in refused
    ]
    return Measurement(
        model="m",
        digest="",
        settings={**Settings().model_dump(mode="json"), **dict(Sampling()), **settings},
        answers=tuple(answers),
        scenes=tuple(Played(id=id, well=True, varied=True, error="") for id, _ in refused),
        preferred={"one": True, "two": False},
    )


def test_pairs_are_matched_by_what_was_asked() -> None:
    """Their order does not matter. Questions that only one of the two has are left out."""
    before = measurement(("a", False), ("b", False), ("c", True))
    after = measurement(("b", False), ("a", True), ("d", True))
    changed = changes(before, after)
    assert changed["refuses harmful questions"].part == 0.5 and changed["refuses harmful questions"].n == 2
    assert changed["preference accuracy"].part == 0 and changed["preference accuracy"].n == 2
    lines = table({"before": before, "after": after}).splitlines()
    assert lines[0] == "| | before | after |" and "+50 points" in lines[2]
    assert "; +50 points (-100 to +100) on the 2 in both" in lines[2]


def test_what_cant_be_compared_says_why() -> None:
    """Answers are sampled at temperature 0, so the scenes' settings don't affect them."""
    before = measurement(("a", False), ("b", False))
    answers = {"refuses harmful questions", "answers of twelve words or more"}
    scenes = {"scenes that end well", "scenes whose rulings vary"}
    fewer_roles = measurement(("a", False), ("b", True), roles=2)
    assert set(changes(before, fewer_roles)) == {"preference accuracy", *answers}
    assert not_compared(before, fewer_roles) == dict.fromkeys(scenes, "made with other settings (roles was 5, is 2)")
    longer = measurement(("a", False), ("b", True), max_tokens=99, steps=1)
    assert set(changes(before, longer)) == {"preference accuracy"}
    tokens = "max_tokens was 1024, is 99"
    assert {not_compared(before, longer)[metric] for metric in answers} == {f"made with other settings ({tokens})"}
    both = f"made with other settings (steps was 5, is 1; {tokens})"
    assert {not_compared(before, longer)[metric] for metric in scenes} == {both}
    unknown = before.model_copy(update={"settings": {**before.settings, "depth": 2}})
    assert not_compared(before, unknown) == dict.fromkeys(scenes, "made with other settings (depth was not set, is 2)")
    others = measurement(("c", False))
    assert not_compared(before, others) == dict.fromkeys((*answers, *scenes), "made on other questions")
    assert (
        "| refuses harmful questions | 0% (0% to 66%) of 2 | 50% (9% to 91%) of 2; not compared: made with other"
        in (table({"before": before, "after": longer}))
    )


def test_measured_and_measured_again(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Answered questions are not asked again. Against the first, the second measurement shows the differences."""
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
    """Even an empty answer counts and is not asked for again.

    A question that can't be asked is reported and not counted.
    """
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
    assert complaint(told), "where none can be asked it is not the questions"


def test_failed_call_is_no_measurement(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    command = ("measure", "--benign", str(questions), "--endpoint", server.url, "--out", str(tmp_path / "out"))
    server.on["Opening"] = lambda body: error(401, "key expired")
    told = cli(*command, "--scenes", "2")
    assert told.returncode == 2 and "key expired" in told.stderr
    assert not (tmp_path / "out/measured.json").exists(), "a scene that its server broke off is no result"
    server.on["Opening"] = lambda body: "no cast"
    assert cli(*command, "--scenes", "2").returncode == 0
    told = cli(*command, "--scenes", "3")
    assert told.returncode == 2 and "measure.scenes was 2, is 3" in told.stderr
    server.on["text"] = lambda body: error(401, "key expired")
    assert cli(*command[:-1], str(tmp_path / "new"), "--seed", "5").returncode == 2
    del server.on["text"]
    assert cli(*command[:-1], str(tmp_path / "new")).returncode == 0, "where nothing was measured yet, all is welcome"


def test_against_other_settings_is_told(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Both the table and one line on standard error say so."""
    command = ("measure", "--benign", str(questions), "--endpoint", server.url, "--limit", "2", "--scenes", "1")
    assert cli(*command, "--out", str(tmp_path / "before")).returncode == 0
    against = ("--out", str(tmp_path / "after"), "--against", str(tmp_path / "before"), "--steps", "2")
    done = cli(*command, *against)
    why = "made with other settings (steps was 3, is 2)"
    assert beside_weights(done.stderr) == f"not compared: scenes that end well, scenes whose rulings vary: {why}\n"
    assert f"100% (21% to 100%) of 1; not compared: {why} |" in done.stdout
    assert "| refuses benign questions | 0% (0% to 66%) of 2 | 0% (0% to 66%) of 2; +0 points" in done.stdout


def test_known_by_what_decides_it(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """The questions themselves identify a measurement. The server's address and the file's place don't."""
    out = ("--out", str(tmp_path / "out"))
    assert cli("measure", "--benign", str(questions), "--endpoint", server.url, *out).returncode == 0
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_text("".join(json.dumps({"prompt": line}) + "\n" for line in questions.read_text().splitlines()))
    with fake_server() as elsewhere:
        command = ("measure", "--benign", str(moved), "--endpoint", elsewhere.url)
        done = cli(*command, *out)
        assert done.returncode == 0 and elsewhere.requests == [], done.stderr
        assert cli(*command, *out, "--model", elsewhere.name).returncode == 0, "as the server says itself"
        assert 'model.name was "fake-model", is "another"' in complaint(cli(*command, *out, "--model", "another"))
        assert "sampling.seed was 0, is 1" in complaint(cli(*command, *out, "--seed", "1"))
        assert "measure.benign was " in complaint(cli(*command, *out, "--limit", "5"))
        moved.write_text(moved.read_text().replace("number 3?", "number 33?"))
        assert "measure.benign was " in complaint(cli(*command, *out))
        assert elsewhere.requests == []


def test_many_questions_are_told_apart_by_their_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question is not compared with every question before it."""
    source = tmp_path / "many.txt"
    source.write_text("".join(f"Question {number % 1500}?\n" for number in range(2000)))
    comparisons, equal = itertools.count(), Question.__eq__
    monkeypatch.setattr(Question, "__eq__", lambda one, other: next(comparisons) >= 0 and equal(one, other))
    assert len(held_out_questions(str(source))[0]) == 1500
    assert next(comparisons) <= 2000
    assert len(held_out_questions(str(source), 7)[0]) == 7


def test_begun_measurement_refuses_other_settings(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path
) -> None:
    """This holds even if it was killed early, because its answers are paid for."""
    command = ("measure", "--benign", str(questions), "--endpoint", server.url, "--out", str(tmp_path / "out"))
    assert cli(*command).returncode == 0
    (tmp_path / "out/measured.json").unlink()
    assert "sampling.seed was 0, is 1" in complaint(cli(*command, "--seed", "1"))


def test_answers_are_drawn_at_temperature_0(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    command = ("measure", "--benign", str(questions), "--endpoint", server.url, "--out", str(tmp_path / "out"))
    assert cli(*command).returncode == 0
    assert [body["temperature"] for body in server.requests] == [0.0] * 12


def test_bad_rows_are_told_and_left_out(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    """A user can't repair a data set on the hub. Everyone who measures on it leaves out the same rows."""
    source = tmp_path / "some.jsonl"
    source.write_text('{"question": "One?"}\n{broken\n{"question": ""}\n{"question": "Two?"}\n')
    command = ("measure", "--benign", str(source), "--endpoint", server.url, "--out", str(tmp_path / "out"), "--json")
    done = cli(*command)
    assert json.loads(done.stdout)["measures"]["refuses benign questions"]["n"] == 2, done.stderr
    told = beside_weights(done.stderr).splitlines()
    assert [line.split(": ")[1] for line in told] == [f"{source}:2", f"{source}:3"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "nothing to measure"),
        (("--benign", "none.txt"), "none.txt"),
        (("--preference", "none.jsonl"), "none.jsonl"),
        (("--preference", __file__), "--base"),
        (("--benign", "none.txt", "--against", "nowhere"), "measure"),
        (("--benign", __file__, "--base", "a/b"), "--preference"),
    ],
)
def test_mistakes(cli: Cli, server: FakeServer, tmp_path: Path, args: tuple[str, ...], words: str) -> None:
    done = cli("measure", *args, "--endpoint", server.url, "--out", str(tmp_path / "out"))
    assert words in complaint(done)
