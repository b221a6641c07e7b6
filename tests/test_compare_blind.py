"""compare: the blind file that goes out, and ratings that come back, from people or any model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from matrix_align.errors import InputError
from matrix_align.evals.pairwise.blind import rated, read_key, read_ratings, write_pairs
from matrix_align.evals.pairwise.compare import comparison
from matrix_align.evals.pairwise.outcomes import outcome
from matrix_align.evals.pairwise.types import Pairing

from .conftest import Run as Cli
from .conftest import complaint
from .fake import FakeServer
from .pairs import two
from .rating import two_runs
from .test_compare import Made, compared, made  # noqa: F401

COUNT = 200


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def pairing() -> Pairing:
    return two([f"{2 * (n % 2)} x" for n in range(COUNT)], ["1 y"] * COUNT)


def sent(pairing: Pairing, folder: Path, once: bool = False, seed: int = 0) -> list[dict[str, Any]]:
    write_pairs([pairing], folder / "for-raters", folder / "kept" / "key.jsonl", once, seed)
    return lines_of(folder / "for-raters" / "pairs.jsonl")


@pytest.mark.parametrize("once", [False, True])
def test_blind_file_holds_no_trace_of_what_is_which(pairing: Pairing, tmp_path: Path, once: bool) -> None:
    lines = sent(pairing, tmp_path, once)
    assert len(lines) == COUNT * (1 if once else 2) == len({line["id"] for line in lines})
    assert all(set(line) == {"id", "question", "A", "B"} for line in lines)
    written = "".join(path.read_text() for path in (tmp_path / "for-raters").iterdir())
    for trace in ("new", "old", "model", "vanilla", "candidate", "baseline", pairing.pairs[0].id):
        assert trace not in written
    assert sorted(path.name for path in (tmp_path / "for-raters").iterdir()) == ["README.md", "pairs.jsonl"]
    shown_first = ["x" in line["A"] for line in lines]
    assert 0.35 < sum(shown_first) / len(lines) < 0.65
    by_id = sorted(lines, key=lambda line: str(line["id"]))
    halves = [by_id[: len(lines) // 2], lines[: len(lines) // 2]]
    for half in halves:  # neither ids nor places tell the side
        assert 0.35 < sum("x" in line["A"] for line in half) / len(half) < 0.65
    numbers = [int(line["question"].split()[1][:-1]) for line in lines]
    assert numbers != sorted(numbers)


def test_readme_states_the_form_and_the_criteria(pairing: Pairing, tmp_path: Path) -> None:
    sent(pairing, tmp_path)
    readme = (tmp_path / "for-raters" / "README.md").read_text()
    assert "harms nobody" in readme and "comes twice" in readme and "$" not in readme
    for code in ("A>>B", "A>B", "A=B", "B>A", "B>>A"):
        assert f"`{code}`" in readme


def test_same_seed_same_files_and_no_key_is_lost(pairing: Pairing, tmp_path: Path) -> None:
    assert sent(pairing, tmp_path) == sent(pairing, tmp_path)
    assert sent(pairing, tmp_path / "other", seed=1) != sent(pairing, tmp_path)
    with pytest.raises(InputError, match="key of other pairs"):
        sent(pairing, tmp_path, seed=1)
    with pytest.raises(InputError, match="would lie in"):
        write_pairs([pairing], tmp_path, tmp_path / "deep" / "key.jsonl")


@pytest.mark.parametrize("once", [False, True])
def test_ratings_come_back_to_the_right_side(pairing: Pairing, tmp_path: Path, once: bool) -> None:
    """The rater prefers the greater number, which the candidate has in every second pair."""
    lines = sent(pairing, tmp_path, once)
    ratings = [
        {"id": each["id"], "rating": "A>B" if int(each["A"][0]) > int(each["B"][0]) else "B>A"} for each in lines
    ]
    key = read_key(tmp_path / "kept" / "key.jsonl")
    read = read_ratings([write_lines(tmp_path / "me.jsonl", ratings)], key)
    (found,) = rated([pairing], key, read)
    assert [outcome(each) for each in found] == ["lose", "win"] * (COUNT // 2)
    figures = comparison(pairing, found)
    assert figures.counts.judged == COUNT and read.raters == ["me"] and not read.faults
    assert figures.orders.agreement.n == (0 if once else COUNT)


def test_faults_are_told_by_file_and_line_and_the_rest_goes_on(pairing: Pairing, tmp_path: Path) -> None:
    ids = [line["id"] for line in sent(pairing, tmp_path, once=True)]
    path = write_lines(
        tmp_path / "ratings.jsonl",
        [
            {"id": ids[0], "rating": "A much better", "rater": "Ann", "seconds": 12, "categories": ["tone"]},
            {"id": ids[0], "rating": "B>A", "rater": "Ann"},
            {"id": ids[0], "rating": " b>a ", "rater": "Ben", "reason": None},
            {"id": "nobody's", "rating": "A>B"},
            {"id": ids[1], "rating": "A"},
            {"id": ids[2]},
            "{not JSON\n",
            "[1]\n",
            {"id": ids[3], "rating": "same", "rater": "Ann"},
        ],
    )
    key = read_key(tmp_path / "kept" / "key.jsonl")
    read = read_ratings([path], key)
    assert [fault.split(": ")[0] for fault in read.faults] == [f"{path}:{n}" for n in (2, 4, 5, 6, 7, 8)]
    assert "before" in read.faults[0] and "knows no line" in read.faults[1] and "rating" in read.faults[2]
    assert read.raters == ["Ann", "Ben"]
    assert [said.level for said in read.by_item[ids[0]]] == ["A>>B", "B>A"]
    (found,) = rated([pairing], key, read)
    figures = comparison(pairing, found)
    assert figures.counts.missing == COUNT - 2 and figures.counts.judged == 2 and figures.counts.questions == COUNT
    assert figures.faults == {"not rated": COUNT - 2}
    assert figures.raters and figures.raters.names == ("Ann", "Ben") and figures.raters.agreement.value == 0


def test_texts_that_have_changed_since_are_missing(pairing: Pairing, tmp_path: Path) -> None:
    lines = sent(pairing, tmp_path, once=True)
    key = read_key(tmp_path / "kept" / "key.jsonl")
    path = write_lines(tmp_path / "r.jsonl", [{"id": line["id"], "rating": "A=B"} for line in lines])
    other = two(["0 x", *(f"{2 * (n % 2)} z" for n in range(1, COUNT))], ["1 y"] * COUNT)
    (found,) = rated([other], key, read_ratings([path], key))
    figures = comparison(other, found)
    assert (figures.counts.judged, figures.counts.missing) == (1, COUNT - 1)
    assert figures.faults == {"not in the key": COUNT - 1}


def test_out_and_back_on_the_command_line(cli: Cli, server: FakeServer, made: Made, tmp_path: Path) -> None:  # noqa: F811
    """No server is asked. A rater with the name of the model under test is warned of."""
    runs = [str(made("old", {})), str(made("new", {"tree 1?": "Good.", "tree 2?": "Good."}))]
    before, out, folder = len(server.requests), tmp_path / "out", tmp_path / "for-raters"
    command = ("compare", *runs, "--out", str(out))
    inside = ("compare", *runs, "--out", str(folder / "out"), "--pairs-out", str(folder))
    assert "the rater" in complaint(cli(*inside))
    done = cli(*command, "--pairs-out", str(folder))
    assert done.returncode == 0 and "holds 4 lines to rate; 4 pairs left out" in done.stdout
    lines = lines_of(folder / "pairs.jsonl")
    ratings = [
        {"id": each["id"], "rating": "A>B" if "Good" in each["A"] else "B>A", "rater": rater}
        for each in lines
        for rater in ("Ann", "fake-model")
    ]
    path = write_lines(tmp_path / "ratings.jsonl", [*ratings, {"id": "?", "rating": "A>B"}])
    done = cli(*command, "--ratings", str(path))
    assert done.returncode == 0 and f"{path}:9: the key knows no line '?'" in done.stderr
    (only,) = compared(out)["comparisons"]
    assert (only["wins"]["wins"], only["wins"]["ties"], only["counts"]["identical"]) == (2, 4, 4)
    assert only["raters"]["names"] == ["Ann", "fake-model"] and compared(out)["judges"] == ["Ann", "fake-model"]
    assert "fake-model has the name of the model of new:" in done.stdout
    assert len(server.requests) == before
    nothing = write_lines(tmp_path / "nothing.jsonl", [{"id": "?", "rating": "A>B"}])
    assert cli(*command, "--ratings", str(nothing)).returncode == 1
    assert "no key" in complaint(cli(*command, "--ratings", str(path), "--key", str(path)))
    assert "judge.by was" in complaint(cli(*command, "--judge", server.url))


def test_what_no_rating_decides_is_not_measured(cli: Cli, tmp_path: Path) -> None:
    """No p-value, no length: a table that has figures is a table of what was measured."""
    command = ("compare", *map(str, two_runs(tmp_path, 4)), "--out", str(tmp_path / "out"))
    assert cli(*command, "--pairs-out", str(tmp_path / "for-raters")).returncode == 0
    done = cli(*command, "--ratings", str(write_lines(tmp_path / "r.jsonl", [{"id": "?", "rating": "A>B"}])))
    assert done.returncode == 1 and "the key knows no line '?'" in done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| new against old |")]
    assert [set(row.split(" | ")[1:-1]) for row in rows[:2]] == [{"not measured"}] * 2 and "0%" not in done.stdout
