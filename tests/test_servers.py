"""generate on several servers: how they share the scenes, and what happens to a scene whose server fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from matrix_align import Endpoint, QuotaExceeded, Refused, Unreachable
from matrix_align.generate.schedule import TRIES, generate
from matrix_align.llm.pool import Server, Tally

from .asking import Waits
from .conftest import Run as Cli
from .fake import FakeServer, error, fake_server, kind
from .test_generate import SMALL, counts, prepared, prompt_of, rows


async def test_calls_of_a_scene_stay_on_one_server(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Both servers get a share of the scenes."""
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
        assert run.inputs.counts() == {"done": 12}


async def test_server_that_dies_hands_over_its_scenes(server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Every question has one scene in the end, and no call that either server answered is made again."""
    with fake_server() as second, prepared(tmp_path / "run", questions) as run:
        second.latency = server.latency = 0.01

        def dies(request: Any) -> Any:
            server.faults = [dies] * 1000
            return error(500, "dying")

        server.faults = [lambda request: None] * 8 + [dies]
        async with Endpoint(server.url, "fake-model", attempts=1) as one, Endpoint(second.url, "fake-model") as other:
            tally = Tally()
            await generate(run, [Server(one, tally, fixed=3), Server(other, tally, fixed=3)], tally)
        assert run.inputs.counts() == {"done": 12}
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
    """It fails after some attempts, since the server answers all others."""
    server.on["Opening"] = lambda body: error(500, "crash") if "number 2?" in str(body) else server.default(body)
    with prepared(tmp_path / "run", questions) as run:
        async with Endpoint(server.url, "fake-model", attempts=1) as endpoint:
            await generate(run, [Server(endpoint, tally := Tally())], tally)
        assert run.inputs.counts() == {"done": 11, "failed: Overloaded": 1}
        assert server.kinds().count("Opening") == 11 + TRIES + 1, (
            "once after calls that were answered, then TRIES times"
        )


async def test_server_that_only_lists_its_models(
    server: FakeServer, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scenes wait, and none fails, however long it takes. After a time the run gives up."""
    monkeypatch.setattr("matrix_align.generate.schedule.PATIENCE", 1.0)
    monkeypatch.setattr("matrix_align.generate.schedule.PROBE", 0.05)
    server.faults = [lambda request: error(502, "starting")] * 10_000
    with prepared(tmp_path / "run", questions) as run:
        async with Endpoint(server.url, "fake-model", attempts=1) as endpoint:
            with pytest.raises(Unreachable, match="starting"):
                await generate(run, [Server(endpoint, tally := Tally())], tally)
            assert run.inputs.counts() == {"waiting": 12}
            server.faults = []
            await generate(run, [Server(endpoint, tally := Tally())], tally)
        assert run.inputs.counts() == {"done": 12}


def test_failed_calls_count_in_the_budget(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Three attempts of 110 tokens each are paid for, whatever they returned."""
    server.on["text"] = lambda body: ""
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL)
    done = cli(*command, "--max-tokens", "330", "--concurrency", "1", "--json")
    assert counts(done) == {"failed: BadReply": 1, "waiting": 11}


def test_failed_reply_is_drawn_anew(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """A call that failed because of its replies is made again with other seeds. The others come from the record."""
    server.on["text"] = lambda body: ""
    options = ("--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL, "--limit", "1", "--json")
    command = ("generate", str(questions), *options)
    assert counts(cli(*command)) == {"failed: BadReply": 1}
    tried = {body["seed"] for body in server.requests if kind(body) == "text"}
    assert len(tried) == 3
    server.on["text"] = lambda body: "" if body["seed"] in tried else "Well."
    assert counts(cli(*command, "--retry-failed")) == {"done": 1}


def test_options_beside_a_run_that_is_there(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Without a SOURCE, the run's own settings hold. An option that differs from them is refused, not ignored."""
    out = ("generate", "--out", str(tmp_path / "run"), "--endpoint", server.url)
    assert counts(cli(*out, str(questions), *SMALL, "--limit", "1", "--json")) == {"done": 1}
    told = cli(*out, "--roles", "3")
    assert told.returncode == 2 and "settings.roles was 2, is 3" in told.stderr
    told = cli(*out, "--answer-tokens", "99")
    assert told.returncode == 2 and "sampling.max_tokens was 1024, is 99" in told.stderr
    told = cli(*out, "--limit", "5")
    assert told.returncode == 2 and "--limit says how to read a SOURCE" in told.stderr
    assert cli(*out, "--roles", "2").returncode == 0


def test_source_that_changes(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    """A new first line moves the others. A repaired row is no longer bad. A category may be added later."""
    source = tmp_path / "questions.jsonl"
    source.write_text('{"question": "One?"}\n{"question": "Two?"}\n{\n')
    command = ("generate", str(source), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL, "--json")
    assert counts(cli(*command)) == {"bad row": 1, "done": 2}
    made = len(server.requests)
    source.write_text('{"question": "Zero?"}\n{"question": "One?"}\n{"question": "Two?"}\n{"question": "One?"}\n')
    told = cli(*command, "--category", "helpful")
    assert counts(told) == {"done": 3, "duplicate": 1}
    assert "Changed the category of 2 questions of the run" in told.stderr
    assert len(server.requests) == made * 3 // 2
    assert rows(tmp_path / "run", "SELECT DISTINCT category FROM inputs") == [("helpful",)]
    source.write_text('{"question": "Two?"}\n{"question": "Two?"}\n')
    assert counts(cli(*command)) == {"done": 3, "duplicate": 1}


def test_source_that_is_not_there(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    told = cli("generate", str(tmp_path / "none.txt"), "--out", str(tmp_path / "run"), "--endpoint", server.url)
    assert told.returncode == 2 and "none.txt" in told.stderr
    assert not (tmp_path / "run").exists()


def test_question_that_is_flagged_fails_alone(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """Some servers answer 403 to a single question.

    That does not stop the run, even at the first question, since they answer others.
    """
    server.on["text"] = lambda body: error(403, "flagged") if "number 0?" in str(body) else "Well."
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL, "--json")
    assert counts(cli(*command)) == {"done": 11, "failed: Refused": 1}


@pytest.mark.parametrize("status", [301, 401, 403, 404, 410])
def test_server_that_refuses_all_from_now_on(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path, status: int
) -> None:
    """A key that has run out fails no question."""
    server.faults = [lambda request: None] * 30 + [lambda request: error(status, "no more")] * 100
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL)
    told = cli(*command)
    assert told.returncode == 2 and "no more" in told.stderr and "Warning" not in told.stderr
    assert set(rows(tmp_path / "run", "SELECT state FROM inputs")) <= {("waiting",), ("done",)}


def test_trouble_is_told(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported even if nobody watches a progress bar."""
    monkeypatch.setattr("matrix_align.llm.http.random.uniform", lambda low, high: 0.0)  # no back-off
    server.faults = [lambda request: error(500, "out of memory")] * 1000
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL)
    told = cli(*command, "--max-time", "4s")
    assert "out of memory" in told.stderr


def test_refused_key_stops_the_run(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """A failure of every call is reported once, and no question counts as failed for it."""
    server.key = "right"
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL)
    told = cli(*command, "--model", "fake-model")
    assert told.returncode == 2 and "MATRIX_ALIGN_API_KEY" in told.stderr
    assert rows(tmp_path / "run", "SELECT DISTINCT state FROM inputs") == [("waiting",)]


def test_budget_that_can_not_be_kept(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """A server that reports no tokens stops a run with a budget of tokens."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Well."}}
    server.on["text"] = lambda body: web.json_response({"choices": [choice]})
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url, *SMALL)
    told = cli(*command, "--max-tokens", "1000")
    assert "a budget of tokens or cost can't be kept" in told.stderr


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 429, "message": "Rate limit"}},
        {"choices": [{"finish_reason": "error", "message": {"role": "assistant", "content": "Half an ans"}}]},
    ],
    ids=["an error in a 200", "half an answer"],
)
async def test_burst_of_failures_inside_a_200(
    server: FakeServer,
    questions: Path,
    tmp_path: Path,
    waits: Waits,
    monkeypatch: pytest.MonkeyPatch,
    body: dict[str, Any],
) -> None:
    """No scene fails because of them, and no half answer is in the run."""
    monkeypatch.setattr("matrix_align.generate.schedule.PROBE", 0.05)
    server.faults = [lambda _: web.json_response(body)] * 60
    with prepared(tmp_path / "run", questions) as run:
        async with Endpoint(server.url, "fake-model") as endpoint:
            await generate(run, [Server(endpoint, tally := Tally())], tally)
        assert run.inputs.counts() == {"done": 12}
    assert len(server.faults) == 0
    assert rows(tmp_path / "run", "SELECT count(*) FROM calls WHERE text LIKE '%Half an ans%'") == [(0,)]


@pytest.mark.parametrize("status", [200, 400, 429])
async def test_empty_account_stops_the_run_at_once(
    server: FakeServer, questions: Path, tmp_path: Path, status: int
) -> None:
    """No request is sent again, and no question counts as failed for it."""
    words = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    empty = lambda _: web.json_response(words, status=status)  # noqa: E731
    server.faults = [lambda _: None] * 30 + [empty] * 100
    with prepared(tmp_path / "run", questions) as run:
        async with Endpoint(server.url, "fake-model") as endpoint:
            with pytest.raises(QuotaExceeded, match="You exceeded your current quota"):
                await generate(run, [Server(endpoint, tally := Tally())], tally)
        assert set(run.inputs.counts()) <= {"done", "waiting"}
    assert len(server.requests) < 60


async def test_key_that_is_refused_inside_a_200_stops_the_run(
    server: FakeServer, questions: Path, tmp_path: Path
) -> None:
    refused = lambda _: web.json_response({"error": {"message": "No such key", "code": 401}})  # noqa: E731
    server.faults = [refused] * 100
    with prepared(tmp_path / "run", questions) as run:
        async with Endpoint(server.url, "fake-model") as endpoint:
            with pytest.raises(Refused, match=r"No such key.*MATRIX_ALIGN_API_KEY"):
                await generate(run, [Server(endpoint, tally := Tally())], tally)
        assert run.inputs.counts() == {"waiting": 12}
