"""An evaluation that is killed or stopped goes on where it was, and makes no recorded call again."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from matrix_align.evals.evaluation.report import FILE, Report

from .conftest import HANG, started
from .conftest import Run as Cli
from .evaluating import answers_by_method, benchmark, judges
from .fake import FakeServer, fake_server
from .records import rows

METHODS = ("--method", "vanilla", "--method", "think_first")


def recorded(out: Path) -> set[str]:
    """The calls that are in a record, of answers or of the judge."""
    found = set()
    for record in (*out.glob("answers/*/*/record.db"), *out.glob("judge.db")):
        for (request,) in rows(record, "SELECT request FROM calls") if record.stat().st_size else ():
            call = json.loads(request)
            found.add(identity(call["messages"], call["form"].split()[0], call["sampling"]["seed"]))
    return found


def identity(messages: list[Any], form: str, seed: int) -> str:
    return json.dumps([messages, form, seed], sort_keys=True)


def asked(bodies: list[dict[str, Any]]) -> set[str]:
    named = [body.get("response_format", {}).get("json_schema", {}).get("name", "text") for body in bodies]
    return {identity(body["messages"], form, body.get("seed", 0)) for body, form in zip(bodies, named, strict=True)}


def test_killed_three_times(cli: Cli, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first cell is answered, while the second one is, and while the judge is at work."""
    monkeypatch.setattr("matrix_align.evals.evaluation.plots.PLOTS", {})
    answers_by_method(server)
    out = tmp_path / "out"
    with fake_server() as judge:
        judge.name = "a-judge"
        judges(judge)
        server.latency = judge.latency = 0.05
        words = ("evaluate", benchmark(tmp_path, 5, 5), *METHODS, "--out", str(out), "--concurrency", "2")
        command = (*words, "--endpoint", server.url, "--judge", judge.url)
        again: list[set[str]] = []

        def killed_when(reached: Callable[[], bool]) -> None:
            before, first, judged = recorded(out), len(server.requests), len(judge.requests)
            process = started(tmp_path, *command)
            began = time.monotonic()
            while not reached():
                assert process.poll() is None and time.monotonic() - began < HANG
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=HANG)
            again.append(before & asked([*server.requests[first:], *judge.requests[judged:]]))

        killed_when(lambda: len(server.requests) >= 5)
        assert not (out / "answers/xstest/think_first").exists()
        killed_when(lambda: len(server.requests) >= 18)
        assert not (out / FILE).exists()
        killed_when(lambda: len(judge.requests) >= 20)
        assert len(recorded(out)) >= 30 and not (out / FILE).exists()
        before, first, judged = recorded(out), len(server.requests), len(judge.requests)
        done = cli(*command)
        assert done.returncode == 0, done.stderr
        again.append(before & asked([*server.requests[first:], *judge.requests[judged:]]))
    assert again == [set()] * 4, "a recorded call was made again"
    report = Report.model_validate_json((out / FILE).read_text())
    assert {(part.questions, part.answered) for part in report.parts} == {(5, 5)}
    assert [(cost.n, cost.calls) for cost in report.costs] == [(10, 1), (10, 2)]
    assert report.versus[0].comparison.wins.n == 10 and not report.warnings
    assert len(recorded(out)) == 10 + 20 + 2 * (10 + 10) + 2 * 10  # answers, scores of each, verdicts in two orders


@pytest.mark.parametrize("stage", ["answers", "judge"])
def test_ctrl_c_says_how_to_go_on(server: FakeServer, tmp_path: Path, stage: str) -> None:
    """The calls in flight are awaited, so that none of them is paid for in vain."""
    answers_by_method(server)
    out = tmp_path / "out"
    with fake_server() as judge:
        judge.name = "a-judge"
        judges(judge)
        stopped = server if stage == "answers" else judge
        stopped.latency = 0.3
        words = ("evaluate", benchmark(tmp_path), *METHODS, "--out", str(out))
        process = started(tmp_path, *words, "--endpoint", server.url, "--judge", judge.url)
        began = time.monotonic()
        while not stopped.requests:
            assert process.poll() is None and time.monotonic() - began < HANG
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=HANG)
        assert process.returncode == 130 and "Traceback" not in told
        assert "Stopping after the calls in flight" in told
        assert told.splitlines()[-1].endswith("finished work is kept, and the same command resumes")
        assert asked([*server.requests, *judge.requests]) == recorded(out)
