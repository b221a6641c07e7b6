"""generate: many questions through the front door, against a fake endpoint over real HTTP."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from matrix_align import Endpoint
from matrix_align.data.sources import questions_from
from matrix_align.generate import schedule
from matrix_align.generate.run import Run
from matrix_align.generate.schedule import generate
from matrix_align.llm.pool import Server, Tally

from .conftest import Run as Cli
from .conftest import beside_weights, matrix
from .fake import FakeServer, completion, error

SMALL = ("--roles", "2", "--steps", "1")


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The number of the run's inputs in each state."""
    told = json.loads(done.stdout)
    found: dict[str, int] = told["inputs"]
    assert told["total"] == sum(found.values())
    assert done.returncode == (0 if found.get("done") else 1), done.stderr
    return found


def rows(run: Path, statement: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(run / "record.db") as db:
        return db.execute(statement).fetchall()


def asked_twice(server: FakeServer) -> list[str]:
    """Requests that were sent more than once."""
    return [
        text
        for text, times in Counter(json.dumps(body, sort_keys=True) for body in server.requests).items()
        if times > 1
    ]


def test_every_question_has_a_scene_and_is_asked_once(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path
) -> None:
    """The same command again does nothing. Further questions are added to those of the run."""
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL, "--json")
    first = cli(*command)
    assert counts(first) == {"done": 12}
    assert "total" in first.stderr and "Stopped" not in first.stderr
    assert rows(tmp_path / "run", "SELECT count(*) FROM answers") == [(12,)]
    made = len(server.requests)
    assert counts(cli(*command)) == {"done": 12}
    assert len(server.requests) == made
    questions.write_text(questions.read_text() + "And another?\n")
    assert counts(cli(*command)) == {"done": 13}
    assert not asked_twice(server)
    toml = (tmp_path / "run" / "run.toml").read_text()
    for words in ('name = "fake-model"', "roles = 2", "seed = 0"):
        assert words in toml


def test_other_settings_are_refused_with_the_difference(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path
) -> None:
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, "--limit", "1")
    assert cli(*command, *SMALL).returncode == 0
    told = cli(*command, "--roles", "3", "--steps", "1")
    assert told.returncode == 2
    assert "settings.roles was 2, is 3" in told.stderr
    told = cli(*command, *SMALL, "--detail", "brief")
    assert 'settings.detail was "full", is "brief"' in told.stderr
    told = cli(*command, *SMALL, "--model", "another")
    assert 'model.name was "fake-model", is "another"' in told.stderr
    drawn = ("--out", str(tmp_path / "drawn"))
    assert cli(*command, *drawn, "--method", "vanilla", "--temperature", "0").returncode == 0
    told = cli(*command, *drawn, "--method", "guided")
    assert 'other settings: method.name was "vanilla", is "guided"; give' in told.stderr, "and nothing else"


def test_goes_on_without_a_source(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting questions are played with the settings of run.toml. Until then the record has what there is of them."""
    monkeypatch.setattr(schedule, "SHOWN", 1e9)
    out = ("--out", str(tmp_path / "run"), "--endpoint", server.url, "--json")
    stopped = cli("generate", str(questions), *out, *SMALL, "--max-tokens", "2000", "--concurrency", "2")
    assert counts(stopped)["waiting"] > 0
    assert "--max-tokens 2,000 reached" in stopped.stderr
    assert rows(tmp_path / "run", "SELECT calls FROM answers WHERE state = 'unfinished'")
    assert counts(cli("generate", *out)) == {"done": 12}
    assert not asked_twice(server)
    nothing = cli("generate", "--out", str(tmp_path / "none"), "--endpoint", server.url)
    assert nothing.returncode == 2 and "give a SOURCE" in nothing.stderr
    assert not (tmp_path / "none").exists()


def test_every_input_is_counted(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    """Done, failed by reason, bad rows and duplicates are counted, each with its place."""
    source = tmp_path / "mixed.jsonl"
    lines = ['{"question": "One?"}', "{", '{"question": "One?"}', '{"question": "Fails?"}', '{"question": ""}']
    source.write_text("\n".join(lines))
    server.on["text"] = lambda body: "" if "Fails?" in str(body) else "Well."
    done = cli("generate", str(source), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL, "--json")
    assert counts(done) == {"bad row": 2, "done": 1, "duplicate": 1, "failed: BadReply": 1}
    for words in ("mixed.jsonl:2: bad row", "mixed.jsonl:4: failed: BadReply", "mixed.jsonl:5: bad row", "total"):
        assert words in done.stderr


def test_failures_are_kept_and_played_again_alone(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path
) -> None:
    """Failures are kept with their trace. The calls they rest on are not made again."""
    server.on["Critique"] = lambda body: error(400, "not today") if "number 3?" in str(body) else server.default(body)
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL, "--json")
    assert counts(cli(*command)) == {"done": 11, "failed: Refused": 1}
    [(answer,)] = rows(tmp_path / "run", "SELECT answer FROM answers WHERE state = 'failed'")
    kept = json.loads(answer)
    assert kept["scene"]["events"] and "not today" in kept["error"]
    made = len(server.requests)
    assert counts(cli(*command)) == {"done": 11, "failed: Refused": 1}
    assert len(server.requests) == made, "a failed scene waits until it is asked for"
    del server.on["Critique"]
    assert counts(cli(*command, "--retry-failed")) == {"done": 12}
    assert len(server.requests) == made + 2, "critique and revision"


@pytest.mark.parametrize("options", [("--limit", "3"), ("--limit", "3", "--shuffle", "7")])
def test_limit_and_shuffle(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """The limit takes exactly so many questions, the same ones each time."""
    played = []
    for name in ("one", "two"):
        command = (
            "generate",
            str(questions),
            "--out",
            str(tmp_path / name),
            "--endpoint",
            server.url,
            *SMALL,
            *options,
        )
        assert counts(cli(*command, "--json")) == {"done": 3}
        played.append(sorted(rows(tmp_path / name, "SELECT question FROM answers")))
    assert played[0] == played[1]
    firsts = [(f"How do I plant tree number {number}?",) for number in range(3)]
    assert (played[0] == firsts) == ("--shuffle" not in options)


def test_a_shuffled_limit_counts_questions(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    """It counts questions, not rows, because sources repeat questions.

    It takes from each source, whatever its length and place.
    """
    played = []
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
        (folder / "long.jsonl").write_text("{broken\n" + '"Often asked?"\n' * 300 + '"Long one?"\n"Long two?"\n')
        (folder / "short.txt").write_text("Short one?\nShort two?\n")
        command = ("generate", str(folder / "long.jsonl"), str(folder / "short.txt"), "--out", str(folder / "run"))
        done = cli(*command, "--limit", "4", "--shuffle", "7", "--endpoint", server.url, *SMALL, "--json")
        assert counts(done) == {"bad row": 1, "done": 4}
        played.append(sorted(question for (question,) in rows(folder / "run", "SELECT question FROM answers")))
    assert played[0] == played[1]
    assert sum(question.startswith("Short") for question in played[0]) == 2


def test_sequential_has_one_call_in_flight(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    server.latency = 0.01
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, "--limit", "2")
    assert cli(*command, "--roles", "3", "--steps", "1", "--sequential").returncode == 0
    assert server.busiest == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-cost", "1"), "--prices"),
        (("--max-cost", "1", "--prices", "cheap"), "0.15,0.60"),
        (("--max-cost", "1", "--prices=-1,1"), "0.15,0.60"),
        (("--max-cost", "1", "--prices", "nan,1"), "0.15,0.60"),
        (("--max-cost", "nan", "--prices", "1,1"), "--max-cost"),
        (("--max-time", "soon"), "30m"),
        (("--category", "nice"), "helpful or harmful"),
        (("--concurrency", "0"), "--concurrency"),
        (("--roles", "0"), "--roles"),
        (("--engine", "slurm"), "--engine"),
    ],
)
def test_bad_options(cli: Cli, questions: Path, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    told = cli("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", "http://127.0.0.1:9", *options)
    assert told.returncode == 2
    assert words in told.stderr and told.stderr.count("\n") == 1


def test_cost_stops_a_run(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """100 tokens read and 10 written a call, at 10,000 a million: 1.1 a call."""
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL)
    done = cli(*command, "--max-cost", "22", "--prices", "10000,10000", "--concurrency", "1")
    assert "--max-cost 22 reached" in done.stderr
    assert 20 <= len(server.requests) <= 24


@pytest.mark.parametrize("at_once", [(), ("--concurrency", "1")])
def test_limit_that_finishes_no_answer(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path, at_once: tuple[str, ...]
) -> None:
    """It ends with status 1, and says why."""
    made = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL)
    done = cli(*made, *at_once, "--max-tokens", "1")
    begun = "1 answer" if at_once else "8 answers"
    assert done.returncode == 1 and "Stopped: --max-tokens 1 reached" in done.stderr
    assert f"No answer was finished this time: {begun} had begun" in done.stderr
    assert ("--concurrency N" in done.stderr) == (not at_once)
    assert cli(*made).returncode == 0
    done = cli(*made, "--max-tokens", "1")
    assert done.returncode == 0 and "No answer was finished" not in done.stderr


def test_run_without_questions_says_so(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    with Run(tmp_path / "run", matrix(), "fake-model"):
        pass
    done = cli("generate", "--out", str(tmp_path / "run"), "--endpoint", server.url)
    assert done.returncode == 1 and "The run holds no question; give a SOURCE" in done.stderr


def prepared(folder: Path, questions: Path, model: str = "fake-model", **settings: int) -> Run:
    run = Run(folder, matrix(**settings), model)
    run.inputs.take([questions_from(str(questions))])
    return run


# Whatever happens. -------------------------------------------------------------------------------------------------


@contextmanager
def started(*args: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "matrix_align", *args]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process: subprocess.Popen[str] = subprocess.Popen(command, stdin=subprocess.DEVNULL, **pipes)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_killed_again_and_again(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    """In the end every question has exactly one scene, and no recorded call was made twice."""
    server.latency = 0.02
    out = tmp_path / "run"
    command = ("generate", str(questions), "--out", str(out), "--endpoint", server.url, *SMALL)
    draw = random.Random(5)
    made: list[set[str]] = []
    for _ in range(4):
        before, first = recorded(out), len(server.requests)
        with started(*command) as process:
            deadline = time.monotonic() + 20
            while len(server.requests) == first and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(draw.uniform(0.0, 0.15))
            process.send_signal(sent)
            process.communicate(timeout=20)
        made.append({prompt_of(body) for body in server.requests[first:]} & before)
    first, before = len(server.requests), recorded(out)
    assert counts(cli(*command, "--json")) == {"done": 12}
    made.append({prompt_of(body) for body in server.requests[first:]} & before)
    assert made == [set()] * 5
    assert rows(out, "SELECT count(*), count(DISTINCT question) FROM answers") == [(12, 12)]
    assert rows(out, "PRAGMA integrity_check") == [("ok",)]


def prompt_of(body: dict[str, Any]) -> str:
    return json.dumps([body["messages"], body["seed"]], sort_keys=True)


def recorded(run: Path) -> set[str]:
    if not (run / "record.db").exists():
        return set()
    found = (json.loads(request) for (request,) in rows(run, "SELECT request FROM calls"))
    return {json.dumps([each["messages"], each["sampling"]["seed"]], sort_keys=True) for each in found}


def test_ctrl_c_lets_the_calls_under_way_end(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Nothing paid for is lost: every request that was sent is in the record."""
    server.latency = 0.3
    out = tmp_path / "run"
    with started("generate", str(questions), "--out", str(out), "--endpoint", server.url, *SMALL) as process:
        while not server.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Stopping after the calls in flight" in told and "the same command resumes" in told
    assert len(recorded(out)) == len(server.requests)


def test_server_restarted_in_between(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """A server that drops every connection for a while costs only time."""
    server.latency = 0.01

    def gone(request: Any) -> Any:
        assert request.transport
        request.transport.abort()

    out = tmp_path / "run"
    with started("generate", str(questions), "--out", str(out), "--endpoint", server.url, *SMALL, "--json") as process:
        while len(server.requests) < 20:
            time.sleep(0.01)
        server.faults = [gone] * 60
        said, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert json.loads(said)["inputs"] == {"done": 12}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """The command fails in one line. Once there is space, the same command continues from the record."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        command = ("generate", str(questions), "--out", str(disk / "run"), "--endpoint", server.url, *SMALL, "--json")
        told = cli(*command)
        assert told.returncode == 2
        assert "full" in told.stderr and beside_weights(told.stderr).count("\n") <= 2
        assert rows(disk / "run", "PRAGMA integrity_check") == [("ok",)]
        before, first = recorded(disk / "run"), len(server.requests)
        assert subprocess.run(["mount", "-o", "remount,size=50m", str(disk)]).returncode == 0
        assert counts(cli(*command)) == {"done": 12}
        assert not {prompt_of(body) for body in server.requests[first:]} & before
    finally:
        subprocess.run(["umount", "-l", str(disk)])


def test_two_at_work_on_one_run(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    server.latency = 0.2
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL)
    with started(*command):
        while not server.requests:
            time.sleep(0.01)
        told = cli(*command)
    assert told.returncode == 2 and "another process" in told.stderr


def test_run_without_a_call_takes_other_settings(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """A mistake in the first command costs nothing."""
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, "--limit", "1")
    server.faults = [lambda request: error(404, "no such model")] * 1000
    assert cli(*command, "--model", "slip").returncode == 2
    server.faults = []
    assert cli(*command, *SMALL).returncode == 0
    assert cli(*command).returncode == 0, "and what is not said is as the run has it"
    told = cli("generate", "--out", str(tmp_path / "run"))
    assert told.returncode == 2 and "give its --endpoint" in told.stderr


async def test_reply_that_is_cut_is_no_scene(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """The fault of one scene affects no other scene."""
    server.on["Opening"] = lambda body: completion("{", "length") if "number 2?" in str(body) else server.default(body)
    with prepared(tmp_path / "run", questions) as run:
        async with Endpoint(server.url, "fake-model") as endpoint:
            tally = Tally()
            await generate(run, [Server(endpoint, tally)], tally)
        assert run.inputs.counts() == {"done": 11, "failed: BadReply": 1}
        assert (tally.done, tally.failed) == (11, 1)
