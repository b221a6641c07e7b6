"""Two processes at once: they share the paid calls of one record, and a second one on the same run is refused."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from matrix_align.errors import InputError
from matrix_align.generate.run import Run
from matrix_align.provenance import locked

from .conftest import Run as Cli
from .conftest import beside_weights, matrix
from .fake import FakeServer
from .records import rows
from .tiny import rows as training_rows
from .tiny import write

HANG = 300  # seconds


class Gate:
    """Holds the first requests to a fake server until it is opened."""

    def __init__(self, server: FakeServer, requests: int = 1000) -> None:
        self.waiting = threading.Semaphore(0)
        self._open = threading.Event()
        server.faults = [self._hold] * requests

    async def _hold(self, request: web.Request) -> None:
        self.waiting.release()
        await asyncio.to_thread(self._open.wait, HANG)

    def reached(self) -> None:
        """Returns when one more request waits."""
        assert self.waiting.acquire(timeout=HANG), "no request has come"

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts `matrix-align …` as a process of its own."""
    env = {**os.environ, "MATRIX_ALIGN_STORE": str(tmp_path / "scenes.db")}

    def start(*args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "matrix_align", *args]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(command, text=True, env=env, **pipes)

    return start


def test_two_runs_in_one_folder(
    server: FakeServer, started: Callable[..., subprocess.Popen[str]], questions: Path, tmp_path: Path
) -> None:
    """The second run has other settings, and nothing is paid for yet.

    It still does not touch the first one's run.toml.
    """
    gate, out = Gate(server), tmp_path / "run"
    generate = ("generate", str(questions), "--limit", "2", "--roles", "2", "--out", str(out), "--endpoint", server.url)
    first = started(*generate, "--steps", "1")
    gate.reached()
    described = (out / "run.toml").read_bytes()
    second = started(*generate, "--steps", "2")
    said = second.communicate(timeout=HANG)[1]
    assert second.returncode == 2
    assert beside_weights(said).count("\n") == 1 and f"another process is at work on {out}" in said
    assert (out / "run.toml").read_bytes() == described
    gate.open()
    assert first.communicate(timeout=HANG) and first.returncode == 0
    assert rows(out / "record.db", "SELECT state, count(*) FROM inputs GROUP BY state") == [("done", 2)]


def test_two_scenes_in_one_record(
    server: FakeServer, started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """The same scene is played twice at once. Both are complete, and use the same calls."""
    gate = Gate(server, requests=2)
    simulate = ("simulate", "How do I plant a tree?", "--roles", "2", "--steps", "1", "--json")
    both = [started(*simulate, "--endpoint", server.url) for _ in range(2)]
    gate.reached()
    gate.reached()
    gate.open()
    told = [each.communicate(timeout=HANG) for each in both]
    assert [each.returncode for each in both] == [0, 0], told
    one, other = (json.loads(out) for out, _ in told)
    assert one["text"] and one["text"] == other["text"]
    assert [call["key"] for call in one["calls"]] == [call["key"] for call in other["calls"]]
    assert rows(tmp_path / "scenes.db", "SELECT count(*), sum(state NOT IN ('failed', 'unfinished')) FROM answers") == [
        (1, 1)
    ]


def test_run_is_let_go(tmp_path: Path) -> None:
    """The run is released when it is closed, and when it could not be opened."""
    with Run(tmp_path, matrix(steps=1), "m"), pytest.raises(InputError, match="another process"):
        Run(tmp_path, matrix(steps=1), "m")
    (tmp_path / "run.toml").write_text("not = toml = at all")
    with pytest.raises(InputError, match="toml"):
        Run(tmp_path, matrix(steps=1), "m")
    (tmp_path / "run.toml").unlink()
    with Run(tmp_path, matrix(steps=2), "m"):
        pass


def test_run_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't make the folder"):
        Run(tmp_path / "file" / "run", matrix(), "m")


@pytest.mark.parametrize("command", ["generate", "measure", "iterate", "tune"])
def test_every_folder_of_ours_is_one_process_s(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path, command: str
) -> None:
    """Two processes that measure would pay twice, and two that tune would mix their checkpoints."""
    out, base = tmp_path / "out", write(tmp_path / "base")
    words = {
        "generate": (str(questions), "--endpoint", server.url),
        "measure": ("--benign", str(questions), "--endpoint", server.url),
        "iterate": (str(questions), "--base", str(base), "--endpoint", server.url, "--serve", "true"),
        "tune": (str(training_rows(tmp_path / "rows.jsonl")), "--base", str(base)),
    }
    with locked(out, "run.toml"):
        done = cli(command, *words[command], "--out", str(out))
    assert done.returncode == 2 and f"another process is at work on {out}; wait for it, or stop it" in done.stderr
    assert server.requests == [] and [path.name for path in out.iterdir()] == [".lock"]
