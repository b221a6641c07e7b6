"""export --test and --mix: which rows and which questions they draw, and what is told of the others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_align.data.mix import Sample, choice

from .conftest import Run as Cli
from .fake import FakeServer
from .test_export import exported, lines

SCENE = ("--roles", "2", "--steps", "1")
CATEGORIES = {"helpful": 8, "harmful": 5, "": 12}


def source_of(path: Path, categories: dict[str, int]) -> Path:
    """Questions of these categories, in turn."""
    rows = [name for name, count in categories.items() for _ in range(count)]
    written = [json.dumps({"question": f"Question {n:02}?", "category": name}) for n, name in enumerate(rows)]
    path.write_text("\n".join(written[::2] + written[1::2]))
    return path


def answered(cli: Cli, server: FakeServer, source: Path, *args: str) -> Path:
    made = ("generate", str(source), "--out", str(source.with_suffix("")), "--endpoint", server.url)
    done = cli(*made, *(args or SCENE))
    assert done.returncode == 0, done.stderr
    return source.with_suffix("")


@pytest.fixture
def run(cli: Cli, server: FakeServer, tmp_path: Path) -> Path:
    """Answers that are all revised, of questions in CATEGORIES. The ego bears its question, so every call names it."""
    server.on["Situation"] = lambda body: server.default(body) | {"ego": re.findall(r"\w+ \w+\?", str(body))[-1]}
    server.on["text"] = lambda body: "Revised." if "<effects>" in str(body) else "Initial."
    return answered(cli, server, source_of(tmp_path / "run.jsonl", CATEGORIES))


def questions_in(path: Path) -> set[int]:
    text = path.read_text()
    return {number for number in range(sum(CATEGORIES.values())) if f"Question {number:02}?" in text}


@pytest.mark.parametrize(
    ("args", "questions", "held_out"),
    [
        (("--test", "0.3"), 25, 8),
        (("--test", "0.01"), 25, 1),
        (("--test", "0.2", "--mix", "helpful=1,harmful=1"), 10, 2),
        (("--test", "0.2", "--mix", "harmful=1"), 5, 1),
        (("--test", "0.9", "--mix", "harmful=1"), 5, 4),
        (("--test", "0.2", "--mix", "helpful=1,harmful=1", "--format", "dpo"), 10, 2),
        (("--test", "0.2", "--mix", "helpful=3,harmful=1", "--format", "scenes"), 10, 2),
        (("--test", "0.2", "--mix", "helpful=1,harmful=1", "--format", "sharegpt"), 10, 2),
    ],
)
def test_exactly_the_share_of_the_questions_that_are_exported(
    cli: Cli, run: Path, tmp_path: Path, args: tuple[str, ...], questions: int, held_out: int
) -> None:
    """And which ones the seed decides."""
    drawn: dict[str, set[int]] = {}
    for seed in ("0", "1", "2", "3", "0"):
        found = exported(cli, run, "--out", str(tmp_path / "a/b.jsonl"), *args, "--seed", seed)
        train, test = questions_in(tmp_path / "a/b.jsonl"), questions_in(tmp_path / "a/b-test.jsonl")
        assert (found["train"]["rows"], found["test"]["rows"]) == (questions - held_out, held_out)
        assert (len(train), len(test)) == (questions - held_out, held_out) and not train & test
        assert drawn.setdefault(seed, test) == test
    assert len(set(map(frozenset, drawn.values()))) > 1


def test_simulation_rows_are_split_with_their_questions(cli: Cli, run: Path, tmp_path: Path) -> None:
    mix = ("--mix", "helpful=1,harmful=1,simulation=2")
    found = exported(cli, run, "--out", str(tmp_path / "a/b.jsonl"), *mix, "--test", "0.2")
    assert found["train"]["rows"] + found["test"]["rows"] == 20 and found["test"]["rows"]
    train, test = questions_in(tmp_path / "a/b.jsonl"), questions_in(tmp_path / "a/b-test.jsonl")
    assert len(test) == round(0.2 * len(train | test)) and not train & test


def test_one_question_stays_in_training(cli: Cli, server: FakeServer, run: Path, tmp_path: Path) -> None:
    """And the test file of an earlier export goes: `tune` takes it by its name."""
    out = tmp_path / "a/b.jsonl"
    assert exported(cli, run, "--out", str(out), "--test", "0.5")["test"]["rows"]
    (tmp_path / "one.txt").write_text("How?\n")
    one = answered(cli, server, tmp_path / "one.txt")
    told = cli("export", str(one), "--out", str(out), "--test", "0.5")
    assert told.returncode == 0 and "one question alone" in told.stderr
    assert len(lines(out)) == 1
    assert sorted(path.name for path in out.parent.iterdir()) == ["README.md", "b.jsonl"]


def test_what_the_mix_leaves_out_is_told(cli: Cli, run: Path, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "a/b.jsonl"), "--mix", "helpful=1,harmful=1")
    left_out = {"helpful, more than --mix takes": 3, "uncategorised, of which --mix takes none": 12}
    assert exported(cli, run, *out)["train"] == {"rows": 10, "helpful": 5, "harmful": 5, "left_out": left_out}
    said, card = cli("export", str(run), *out).stderr, (tmp_path / "a/README.md").read_text()
    for why, count in left_out.items():
        assert f"left out {count}: {why}" in said and f"- {count} rows: {why}" in card


def test_mix_counts_pairs(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    """Not answers: those that stayed as they were are in no pair."""
    server.on["text"] = lambda body: (
        "Revised." if "<effects>" in str(body) and "Question 00?" not in str(body) else "Initial."
    )
    run = answered(cli, server, source_of(tmp_path / "run.jsonl", {"helpful": 3, "harmful": 4}))
    mix = ("--format", "dpo", "--mix", "helpful=1,harmful=1")
    assert exported(cli, run, "--out", str(tmp_path / "a/b.jsonl"), *mix)["train"] == {
        "rows": 4,
        "helpful": 2,
        "harmful": 2,
        "left_out": {"nothing to reject: both answers are the same": 1, "harmful, more than --mix takes": 2},
    }


@given(
    st.lists(st.tuples(st.sampled_from(["helpful", "harmful", "simulation"]), st.integers(0, 9).map(str))),
    st.floats(0.01, 0.9),
    st.integers(0, 99),
)
def test_draw(usable: list[tuple[str, str]], test: float, seed: int) -> None:
    """Of the questions that remain after the mix the share is held out; some are left to learn from."""
    kinds = {kind for kind, _ in usable}
    chosen = choice(usable, dict.fromkeys(kinds, 1.0), test, seed)
    sample = Sample(chosen.quotas, seed)
    taken = [row for row in usable if sample.takes(row[0])]
    for kind in kinds:
        counts = [sum(each == other for each, _ in usable) for other in kinds]
        assert sum(each == kind for each, _ in taken) == min(counts)
    questions = {question for _, question in taken}
    assert chosen.test <= questions
    assert len(chosen.test) == (
        min(max(round(test * len(questions)), 1), len(questions) - 1) if len(questions) > 1 else 0
    )
