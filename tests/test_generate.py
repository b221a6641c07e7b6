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

from matrix_align import Endpoint, Settings, Unreachable
from matrix_align.generate import TRIES, generate
from matrix_align.run import Run
from matrix_align.servers import Server, Tally
from matrix_align.sources import read

from .conftest import Run as Cli
from .fake import FakeServer, completion, error, fake_server

SMALL = ("--roles", "2", "--steps", "1")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.txt"
    path.write_text("".join(f"How do I plant tree number {number}?\n" for number in range(12)))
    return path


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


def rows(run: Path, statement: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(run / "record.db") as db:
        return db.execute(statement).fetchall()


def asked_twice(server: FakeServer) -> list[str]:
    """Requests that were made more than once."""
    return [
        text
        for text, times in Counter(json.dumps(body, sort_keys=True) for body in server.requests).items()
        if times > 1
    ]


def test_every_question_has_a_scene_and_is_asked_once(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path
) -> None:
    """And the same command again does nothing; more questions are added to what is there."""
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL, "--json")
    first = cli(*command)
    assert counts(first) == {"done": 12}
    assert "total" in first.stderr and "Stopped" not in first.stderr
    assert rows(tmp_path / "run", "SELECT count(*) FROM scenes") == [(12,)]
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
    told = cli(*command, *SMALL, "--model", "another")
    assert 'model.name was "fake-model", is "another"' in told.stderr


def test_goes_on_without_a_source(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """What was left waiting is played with the settings of run.toml."""
    out = ("--out", str(tmp_path / "run"), "--endpoint", server.url, "--json")
    stopped = cli("generate", str(questions), *out, *SMALL, "--max-tokens", "2000", "--concurrency", "2")
    assert counts(stopped)["waiting"] > 0
    assert "--max-tokens 2,000 reached" in stopped.stderr
    assert counts(cli("generate", *out)) == {"done": 12}
    assert not asked_twice(server)
    nothing = cli("generate", "--out", str(tmp_path / "none"), "--endpoint", server.url)
    assert nothing.returncode == 2 and "give a SOURCE" in nothing.stderr
    assert not (tmp_path / "none").exists()


def test_every_input_is_counted(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    """Done, failed by reason, bad rows and duplicates; each with its place."""
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
    """With their trace; the calls they rest on are not asked again."""
    server.on["Critique"] = lambda body: error(400, "not today") if "number 3?" in str(body) else server.default(body)
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL, "--json")
    assert counts(cli(*command)) == {"done": 11, "failed: Refused": 1}
    [(scene,)] = rows(tmp_path / "run", "SELECT scene FROM scenes WHERE state = 'failed'")
    kept = json.loads(scene)
    assert kept["events"] and "not today" in kept["error"]
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
    """So many questions and no more, the same ones each time."""
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
        played.append(sorted(rows(tmp_path / name, "SELECT question FROM scenes")))
    assert played[0] == played[1]
    firsts = [(f"How do I plant tree number {number}?",) for number in range(3)]
    assert (played[0] == firsts) == ("--shuffle" not in options)


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


# Servers. ----------------------------------------------------------------------------------------------------------


def prepared(folder: Path, questions: Path, model: str = "fake-model", **settings: int) -> Run:
    run = Run(folder, Settings(**{"roles": 2, "steps": 1, **settings}), model)
    run.take(read(str(questions)))
    return run


async def test_calls_of_a_scene_stay_on_one_server(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """And both servers have a share of the scenes."""
    server.latency = 0.01
    with fake_server() as second, prepared(tmp_path / "run", questions) as run:
        second.latency = 0.01
        async with Endpoint(server.url, "fake-model") as one, Endpoint(second.url, "fake-model") as other:
            tally = Tally()
            await generate(run, [Server(one, tally, fixed=2), Server(other, tally, fixed=2)], tally)
        shares = [
            {n for n in range(12) if any(f"number {n}?" in str(body) for body in each.requests)}
            for each in (server, second)
        ]
        assert shares[0] and shares[1] and not shares[0] & shares[1]
        assert run.counts() == {"done": 12}


async def test_server_that_dies_hands_over_its_scenes(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Every question has one scene in the end, and no call that either has answered is made again."""
    with fake_server() as second, prepared(tmp_path / "run", questions) as run:
        second.latency = server.latency = 0.01

        def dies(request: Any) -> Any:
            server.faults = [dies] * 1000
            return error(500, "dying")

        server.faults = [lambda request: None] * 8 + [dies]
        async with Endpoint(server.url, "fake-model", attempts=1) as one, Endpoint(second.url, "fake-model") as other:
            tally = Tally()
            await generate(run, [Server(one, tally, fixed=3), Server(other, tally, fixed=3)], tally)
        assert run.counts() == {"done": 12}
        answered = [prompt_of(body) for body in (*server.requests[:8], *second.requests)]
        assert len(answered) == len(set(answered))


def test_different_models_are_refused(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    with fake_server() as second:
        second.name = "other-model"
        both = ("--endpoint", server.url, "--endpoint", second.url)
        told = cli("generate", str(questions), "--out", str(tmp_path / "run"), *both, *SMALL)
    assert told.returncode == 2 and "different models: fake-model, other-model" in told.stderr
    assert not (tmp_path / "run").exists()


async def test_scene_that_breaks_its_server_fails_alone(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """After some tries, since the server answers all others."""
    server.on["Plan"] = lambda body: error(500, "crash") if "number 2?" in str(body) else server.default(body)
    with prepared(tmp_path / "run", questions) as run:
        async with Endpoint(server.url, "fake-model", attempts=1) as endpoint:
            await generate(run, [Server(endpoint, tally := Tally())], tally)
        assert run.counts() == {"done": 11, "failed: Overloaded": 1}
        assert [kind for kind in server.kinds() if kind == "Plan"].count("Plan") == 11 + TRIES + 1


async def test_server_that_only_lists_its_models(
    server: FakeServer, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scenes wait, and none fails, however long it takes; after a time the run gives up."""
    monkeypatch.setattr("matrix_align.generate.PATIENCE", 1.0)
    monkeypatch.setattr("matrix_align.generate.PROBE", 0.05)
    server.faults = [lambda request: error(502, "starting")] * 10_000
    with prepared(tmp_path / "run", questions) as run:
        async with Endpoint(server.url, "fake-model", attempts=1) as endpoint:
            with pytest.raises(Unreachable, match="starting"):
                await generate(run, [Server(endpoint, tally := Tally())], tally)
            assert run.counts() == {"waiting": 12}
            server.faults = []
            await generate(run, [Server(endpoint, tally := Tally())], tally)
        assert run.counts() == {"done": 12}


def test_failed_calls_count_in_the_budget(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Three attempts of 110 tokens each are paid, whatever they brought."""
    server.on["text"] = lambda body: ""
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL)
    done = cli(*command, "--max-tokens", "330", "--concurrency", "1", "--json")
    assert counts(done) == {"failed: BadReply": 1, "waiting": 11}


def test_failed_reply_is_drawn_anew(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Played again, a call that failed for its replies is asked with other seeds; the others come from the record."""
    server.on["text"] = lambda body: ""
    options = ("--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL, "--limit", "1", "--json")
    command = ("generate", str(questions), *options)
    assert counts(cli(*command)) == {"failed: BadReply": 1}
    tried = {body["seed"] for body in server.requests}
    assert len(tried) == 3
    server.on["text"] = lambda body: "" if body["seed"] in tried else "Well."
    assert counts(cli(*command, "--retry-failed")) == {"done": 1}


def test_options_beside_a_run_that_is_there(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Without a SOURCE the run's own settings hold; what is asked for and differs is refused, not passed over."""
    out = ("generate", "--out", str(tmp_path / "run"), "--endpoint", server.url)
    assert counts(cli(*out, str(questions), *SMALL, "--limit", "1", "--json")) == {"done": 1}
    told = cli(*out, "--roles", "3")
    assert told.returncode == 2 and "settings.roles was 2, is 3" in told.stderr
    told = cli(*out, "--answer-tokens", "99")
    assert told.returncode == 2 and "settings.max_tokens was 1024, is 99" in told.stderr
    told = cli(*out, "--limit", "5")
    assert told.returncode == 2 and "--limit says how to read a SOURCE" in told.stderr
    assert cli(*out, "--roles", "2").returncode == 0


def test_source_that_changes(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    """A line put on top moves the others; a bad row that is mended is one no more; a category may come later."""
    source = tmp_path / "questions.jsonl"
    source.write_text('{"question": "One?"}\n{"question": "Two?"}\n{\n')
    command = ("generate", str(source), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL, "--json")
    assert counts(cli(*command)) == {"bad row": 1, "done": 2}
    made = len(server.requests)
    source.write_text('{"question": "Zero?"}\n{"question": "One?"}\n{"question": "Two?"}\n{"question": "One?"}\n')
    assert counts(cli(*command, "--category", "helpful")) == {"done": 3, "duplicate": 1}
    assert len(server.requests) == made * 3 // 2
    assert rows(tmp_path / "run", "SELECT DISTINCT category FROM inputs") == [("helpful",)]


def test_source_that_is_not_there(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    told = cli("generate", str(tmp_path / "none.txt"), "--out", str(tmp_path / "run"), "--endpoint", server.url)
    assert told.returncode == 2 and "none.txt" in told.stderr
    assert not (tmp_path / "run").exists()


async def test_concurrency_adapts(server: FakeServer, tmp_path: Path) -> None:
    """It rises while replies are quick, and is halved when the server says that it is too much."""
    path = tmp_path / "many.txt"
    path.write_text("".join(f"Question {number}?\n" for number in range(60)))
    server.latency = 0.02
    with prepared(tmp_path / "run", path) as run:
        async with Endpoint(server.url, "fake-model") as endpoint:
            tally = Tally()
            await generate(run, [risen := Server(endpoint, tally)], tally)
            assert risen.limit > 8
            halved = Server(endpoint, tally)
            endpoint.pushed_back += 1
            for _ in range(8):
                halved._adapt(0.02)
            assert halved.limit == 4
            for _ in range(60):
                halved._adapt(0.02)
            risen_to = halved.limit
            assert risen_to > 8
            for _ in range(200):
                halved._adapt(0.2)
            assert halved.limit < risen_to


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
    """In the end every question has exactly one scene, and no call in the record was made again."""
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
    assert rows(out, "SELECT count(*), count(DISTINCT question) FROM scenes") == [(12, 12)]
    assert rows(out, "PRAGMA integrity_check") == [("ok",)]


def prompt_of(body: dict[str, Any]) -> str:
    return json.dumps([body["messages"], body["seed"]], sort_keys=True)


def recorded(run: Path) -> set[str]:
    if not (run / "record.db").exists():
        return set()
    found = (json.loads(request) for (request,) in rows(run, "SELECT request FROM calls"))
    return {json.dumps([each["messages"], each["sampling"]["seed"]], sort_keys=True) for each in found}


def test_ctrl_c_lets_the_calls_under_way_end(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Nothing that was paid for is lost: every request that was made is in the record."""
    server.latency = 0.3
    out = tmp_path / "run"
    with started("generate", str(questions), "--out", str(out), "--endpoint", server.url, *SMALL) as process:
        while not server.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Stopping after the calls under way" in told and "goes on from" in told
    assert len(recorded(out)) == len(server.requests)


def test_server_restarted_in_between(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """A server that drops every connection for a while costs time, and nothing else."""
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
    assert json.loads(said) == {"done": 12}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """One line; and once there is room, the same command goes on from what was written."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        command = ("generate", str(questions), "--out", str(disk / "run"), "--endpoint", server.url, *SMALL, "--json")
        told = cli(*command)
        assert told.returncode == 2
        assert "full" in told.stderr and told.stderr.count("\n") <= 2
        assert rows(disk / "run", "PRAGMA integrity_check") == [("ok",)]
        before, first = recorded(disk / "run"), len(server.requests)
        assert subprocess.run(["mount", "-o", "remount,size=50m", str(disk)]).returncode == 0
        assert counts(cli(*command)) == {"done": 12}
        assert not {prompt_of(body) for body in server.requests[first:]} & before
    finally:
        subprocess.run(["umount", "-l", str(disk)])


def test_question_that_is_flagged_fails_alone(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Some servers say 403 to one question; that is no reason to stop, once they have answered others."""
    server.on["text"] = lambda body: error(403, "flagged") if "number 5?" in str(body) else "Well."
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL, "--json")
    assert counts(cli(*command, "--concurrency", "1")) == {"done": 11, "failed: Refused": 1}


def test_refused_key_stops_the_run(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """What would fail for all is said once, and no question counts as failed for it."""
    server.key = "right"
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL)
    told = cli(*command, "--model", "fake-model")
    assert told.returncode == 2 and "MATRIX_ALIGN_API_KEY" in told.stderr
    assert rows(tmp_path / "run", "SELECT DISTINCT state FROM inputs") == [("waiting",)]


async def test_reply_that_is_cut_is_no_scene(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """A fault of one scene stays its own."""
    server.on["Plan"] = lambda body: completion("{", "length") if "number 2?" in str(body) else server.default(body)
    with prepared(tmp_path / "run", questions) as run:
        async with Endpoint(server.url, "fake-model") as endpoint:
            tally = Tally()
            await generate(run, [Server(endpoint, tally)], tally)
        assert run.counts() == {"done": 11, "failed: BadReply": 1}
        assert (tally.done, tally.failed) == (11, 1)
