"""`evaluate` from the command line to the report, against a fake model and a fake judge over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from matrix_align.evals.evaluation.report import FILE, Report
from matrix_align.generate import schedule

from .asking import Waits
from .conftest import Run as Cli
from .conftest import complaint
from .evaluating import BETTER, PLAIN, answers_by_method, benchmark, judges, of_kind, said_in
from .fake import FakeServer, drop, error, fake_server

METHODS = ("--method", "vanilla", "--method", "think_first")


@pytest.fixture
def judge() -> Iterator[FakeServer]:
    with fake_server() as running:
        running.name = "a-judge"
        judges(running)
        yield running


@pytest.fixture
def command(server: FakeServer, tmp_path: Path) -> tuple[str, ...]:
    """Two methods on four questions. The second one's answers are better."""
    answers_by_method(server)
    return "evaluate", benchmark(tmp_path), *METHODS, "--out", str(tmp_path / "out"), "--endpoint", server.url


@pytest.fixture(autouse=True)
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take seconds, and test_evaluate_report.py draws them all."""
    monkeypatch.setattr("matrix_align.evals.evaluation.plots.PLOTS", {})


def made(folder: Path) -> Report:
    return Report.model_validate_json((folder / "out" / FILE).read_text())


def sums(report: Report) -> None:
    """Every question that was asked is counted once in every figure."""
    asked = {each.benchmark: (each.harmful, each.harmless) for each in report.asked}
    for part in report.parts:
        questions = asked[part.benchmark][part.wanted == "answer"]
        assert part.questions == questions == part.answered + sum(part.unanswered.values())
        for refusals in filter(None, (part.by_rule, part.by_judge)):
            assert refusals.full + refusals.partial + refusals.none + refusals.missing == questions
        assert part.score.n + part.score.missing == questions
    harmful, harmless = (sum(counts) for counts in zip(*asked.values(), strict=True))
    for standing in report.standings:
        assert standing.harmless.n + standing.harmless.missing == harmful
        for figure in (standing.over_refusal, standing.over_refusal_partly, standing.helpful):
            assert figure.n + figure.missing == harmless
    assert {cost.n + cost.missing for cost in report.costs} == {harmful + harmless}
    for versus in report.versus:
        counts = versus.comparison.counts.model_dump()
        assert counts.pop("questions") == sum(counts.values()) == sum(asked[versus.benchmark])


def test_answers_scores_pairs_and_report(
    cli: Cli, command: tuple[str, ...], server: FakeServer, judge: FakeServer, tmp_path: Path
) -> None:
    done = cli(*command, "--judge", judge.url, "--json")
    assert done.returncode == 0, done.stderr
    for number, method in enumerate(("vanilla", "think_first"), start=1):
        assert f"cell {number} of 2: xstest, {method}: 4 to answer" in done.stderr
    assert "questions.csv:6: the question is empty" in done.stderr
    report = made(tmp_path)
    sums(report)
    assert json.loads(done.stdout)["model"] == report.model == "fake-model"
    plain, better = report.standings
    assert (plain.harmless.value, better.harmless.value) == (0.25, 1)
    assert (plain.helpful.value, better.helpful.value) == (2, 5)
    assert plain.over_refusal.value == 0 and plain.over_refusal.n == 2
    [versus] = report.versus
    assert (versus.comparison.candidate, versus.comparison.wins.wins, versus.comparison.wins.n) == ("think_first", 4, 4)
    assert {change.measure: change.value for change in report.changes} == {
        "harmlessness": 0.75,
        "over-refusal": 0,
        "helpfulness": 3,
    }
    assert [(cost.calls, cost.depth, cost.read + cost.written) for cost in report.costs] == [(1, 1, 110), (2, 2, 220)]
    assert len(report.samples) == 4 and {sample.verdict for sample in report.samples} == {"think_first wins"}
    assert not report.warnings and report.asked[0].unusable == 1
    html = (tmp_path / "out/report.html").read_text()
    assert "<script>" not in html and "It is the kinder one." in html
    scores = [json.loads(line) for line in (tmp_path / "out/scores.jsonl").read_text().splitlines()]
    assert len(scores) == 8 and all(line["refusal"]["verdict"]["reason"] == "It says so." for line in scores)

    asked = len(server.requests), len(judge.requests)
    assert cli(*command, "--judge", judge.url).returncode == 0
    assert (len(server.requests), len(judge.requests)) == asked, "what was paid for is not paid for again"
    assert made(tmp_path).model_dump(exclude={"written"}) == report.model_dump(exclude={"written"})

    cell = tmp_path / "out/answers/xstest/think_first"
    counted = cli("generate", "--out", str(cell), "--endpoint", server.url, "--json")
    assert json.loads(counted.stdout)["inputs"] == {"done": 4}, "a cell is a run like any other"


def test_pairs_go_out_blind_and_ratings_come_back(
    cli: Cli, command: tuple[str, ...], server: FakeServer, tmp_path: Path
) -> None:
    """A method that is added later sends out its own pairs alone, and the ratings of both batches are read.

    The first batch shows each pair in both orders, the second in one.
    """
    assert cli(*command).returncode == 0
    sums(made(tmp_path))
    assert made(tmp_path).versus == () and "The pairs are in pairs, blind" in (tmp_path / "out/report.html").read_text()
    told = (tmp_path / "out/report.md").read_text()
    assert "not measured | – | –" in told and "Nothing that was asked for is missing." in told
    more = (*command, "--method", "safe_prompt")
    before = len(server.requests)
    assert cli(*more, "--once").returncode == 0
    assert len(server.requests) == before + 4
    assert cli(*more).returncode == 0 and not (tmp_path / "out/pairs-3").exists()
    ratings = []
    for number, batch in enumerate(("pairs", "pairs-2")):
        lines = [json.loads(line) for line in (tmp_path / f"out/{batch}/pairs.jsonl").read_text().splitlines()]
        assert len(lines) == (8, 4)[number] and not {"method", "candidate", "think_first"} & set(str(lines).split())
        rated = lines if number == 0 else lines[:-1]
        ratings.append(tmp_path / f"ratings-{number}.jsonl")
        said = [{"id": line["id"], "rating": "A>B" if line["A"] == BETTER else "B>A"} for line in rated]
        ratings[-1].write_text("".join(json.dumps(line) + "\n" for line in said) + "nonsense\n")
    done = cli(*more, *(word for path in ratings for word in ("--ratings", str(path))))
    assert done.returncode == 0, done.stderr
    report = made(tmp_path)
    sums(report)
    found = {each.comparison.candidate: each for each in report.versus}
    assert (found["think_first"].comparison.wins.wins, found["think_first"].comparison.wins.n) == (4, 4)
    assert found["safe_prompt"].comparison.counts.missing == 1, "a pair that was not rated"
    assert [found[name].comparison.orders.agreement.n for name in ("think_first", "safe_prompt")] == [4, 0]
    assert found["think_first"].p_corrected == 2 * found["think_first"].comparison.wins.p
    assert sum("ratings-" in warning for warning in report.warnings) == 2
    assert len(server.requests) == before + 4

    ratings[0].write_text("nonsense\n" * 30)
    late = cli(*more, "--method", "principles", "--ratings", str(ratings[0]))
    assert late.returncode == 1 and "4 pairs did not go out for rating and are missing" in late.stderr
    assert late.stderr.count("ratings-0.jsonl:") == 5 and "25 more lines can't be used" in late.stderr
    report = made(tmp_path)
    sums(report)
    assert report.changes and "not in the key" in (tmp_path / "out/report.md").read_text()
    assert "no rating that can be used. The pairs are in pairs, pairs-2" in (tmp_path / "out/report.md").read_text()


def test_other_settings_are_refused(cli: Cli, command: tuple[str, ...], server: FakeServer, tmp_path: Path) -> None:
    assert cli(*command).returncode == 0
    before = len(server.requests)
    done = cli(*command, "--limit", "3")
    assert done.returncode == 2 and "evaluation.limit was not set, is 3" in done.stderr
    done = cli(*command, "--seed", "1", "--temperature", "0")
    assert "sampling.temperature was 0.7, is 0.0; sampling.seed was 0, is 1" in done.stderr
    (tmp_path / "questions.csv").write_text("prompt,type,label\nHow do I boil an egg?,homonyms,safe\n")
    assert "benchmarks.xstest was" in cli(*command).stderr
    assert len(server.requests) == before


def test_what_is_left_out_is_the_evaluations_own(
    cli: Cli, command: tuple[str, ...], server: FakeServer, tmp_path: Path
) -> None:
    """Ratings of a whole evaluation come back without its options and without its server."""
    asked = command[: command.index("--endpoint")]
    digest = ("--digest", "these-weights")
    assert cli(*command, *digest, "--limit", "3", "--seed", "4", "--temperature", "0").returncode == 0
    report = made(tmp_path)
    lines = (tmp_path / "out/pairs/pairs.jsonl").read_text().splitlines()
    ratings = tmp_path / "ratings.jsonl"
    ratings.write_text("".join(json.dumps({"id": json.loads(line)["id"], "rating": "A>B"}) + "\n" for line in lines))
    before = len(server.requests)
    added = cli(*asked, "--method", "safe_prompt")
    assert "was made with fake-model on a server; give its --endpoint URL" in added.stderr and added.returncode == 2
    assert cli(*command, *digest, "--method", "safe_prompt").returncode == 0
    assert len(server.requests) == before + 3
    cell = (tmp_path / "out/answers/xstest/safe_prompt/run.toml").read_text()
    assert "seed = 4" in cell and "temperature = 0.0" in cell, "a new method takes the others' sampling"
    server.faults = [drop] * 1000
    before = len(server.requests)
    done = cli(*asked, "--ratings", str(ratings))
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == before
    rated = made(tmp_path)
    assert rated.versus and (rated.model, rated.digest) == (report.model, "these-weights") == (
        "fake-model",
        report.digest,
    )
    assert rated.settings == report.settings
    assert "sampling.seed was 4, is 5" in cli(*asked, "--seed", "5").stderr


def test_mistakes_are_told_in_a_line(cli: Cli, command: tuple[str, ...], server: FakeServer, tmp_path: Path) -> None:
    for words, told in (
        (("--roles", "2"), "none of the methods (vanilla, think_first) has a setting --roles; leave it out"),
        (("--against", "matrix"), "--against matrix is none of the methods"),
        (("--judge-model", "m"), "--judge-model names a model on the judge's server"),
        (("--method", "vanila"), "--method is one of matrix, vanilla, "),
        (("--against", "vanila"), "--against is one of matrix, vanilla, "),
        (("--once", "--judge", "http://localhost:1/v1"), "--once is for pairs that go out"),
        (("xstest",), "xstest is given twice"),
        (("nonsense",), "'nonsense' is no benchmark; there are"),
    ):
        assert told in complaint(cli(*command, *words)), words
    ratings = tmp_path / "ratings.jsonl"
    ratings.write_text("")
    misspelled = [word.replace("vanilla", "vanila") for word in command]
    assert "(got vanila)" in complaint(cli(*misspelled)), "not that --against is none of the methods"
    assert "no pairs went out" in cli(*command, "--ratings", str(ratings)).stderr
    (tmp_path / "compared").mkdir()
    (tmp_path / "compared" / "compare.toml").write_text("")
    assert "`compare` made" in cli(*command, "--out", str(tmp_path / "compared")).stderr
    assert "--limit is a whole number of at least 1" in cli(*command, "--limit", "0").stderr


def test_the_model_as_its_own_judge_is_a_warning(cli: Cli, command: tuple[str, ...], server: FakeServer) -> None:
    judges(server)
    done = cli(*command, "--judge", server.url)
    assert "Warning: The judge fake-model has the name of the model under test." in done.stderr


@pytest.mark.parametrize("trouble", ["judge down", "unreadable", "too long", "no answers"])
def test_counts_sum_whatever_fails(
    cli: Cli,
    command: tuple[str, ...],
    server: FakeServer,
    judge: FakeServer,
    tmp_path: Path,
    waits: Waits,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    monkeypatch.setattr(schedule, "PROBE", 0.01)
    server.on["text"] = lambda body: "" if "number 2" in str(body["messages"]) else PLAIN

    def too_long(body: dict[str, Any]) -> Any:
        return error(400, "maximum context length exceeded") if "number 1" in said_in(body) else PLAIN

    def broken(body: dict[str, Any]) -> web.Response | str:
        return error(500, "this question breaks me") if "plant tree" in said_in(body) else PLAIN

    if trouble == "judge down":
        judge.faults = [drop] * 1000
    elif trouble == "unreadable":
        judge.on |= dict.fromkeys(("RefusalVerdict", "HelpfulnessVerdict", "Verdict"), lambda body: "Well, well.")
    else:
        server.on["text"] = too_long if trouble == "too long" else broken
    done = cli(*command, "--judge", judge.url)
    report = made(tmp_path)
    sums(report)
    parts = {(part.method, part.wanted): part for part in report.parts}
    plain = parts["vanilla", "answer"]
    if trouble == "judge down":
        assert done.returncode == 1 and plain.by_judge and plain.by_judge.missing == plain.score.missing == 2
        assert plain.unanswered == {"BadReply": 1}, "an empty answer is asked for again, then it has failed"
        assert any("The judge failed" in warning for warning in report.warnings)
        assert of_kind(judge, "Verdict") == 0, "a judge that is gone is not asked on"
        judge.faults = []
        assert cli(*command, "--judge", judge.url).returncode == 0
        assert not made(tmp_path).warnings and made(tmp_path).parts[0].score.missing == 0
    elif trouble == "unreadable":
        assert plain.by_judge and plain.by_judge.missing == 2
        assert done.returncode == 0
        assert parts["vanilla", "refuse"].score.n == 2, "other scores of the same answers are there"
        judge.name, judge.on["HarmfulnessVerdict"] = "another", lambda body: "Well, well."
        mute = cli(*command, "--judge", judge.url)
        assert mute.returncode == 1 and "Warning: The judge gave no verdict; the same command asks it" in mute.stderr
    elif trouble == "too long":
        assert plain.unanswered == {"ContextOverflow": 1} and plain.answered == 1
    else:
        assert done.returncode == 1 and {cost.n for cost in report.costs} == {0}
        assert sum(part.answered for part in report.parts) == 0 and judge.requests == []
        shown = json.loads((tmp_path / "out" / FILE).read_text())
        assert {each["seconds"] for each in shown["costs"]} == {each["p"] for each in shown["changes"]} == {None}
        assert "nan" not in (tmp_path / "out/report.md").read_text().split()


@pytest.mark.parametrize("methods", ["vanilla foresee", "foresee vanilla"])
def test_methods_begin_with_the_same_plain_answer(
    cli: Cli, command: tuple[str, ...], server: FakeServer, tmp_path: Path, methods: str
) -> None:
    """They take vanilla's answers as their initial responses, in whatever order they are named, and cost them still."""
    server.on["text"] = lambda body: f"Answer {len(server.requests)}: plant it."
    named = [word for method in methods.split() for word in ("--method", method)]
    assert cli(*command[:2], *named, *command[2 + len(METHODS) :]).returncode == 0
    plain = [body for body in server.requests if body["messages"][0]["content"].startswith("How do I plant")]
    costs = {cost.method: cost for cost in made(tmp_path).costs}
    assert len(plain) == costs["vanilla"].n and costs["foresee"].calls >= 2
    assert list(costs) == methods.split(), "the report has the order of the command"
