"""The command as a process of its own: ended at any point, with its output closed, and what it loads."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from matrix_align import Store

from .conftest import ASKED, HANG, SMALL, Run, answer_of, beside_weights, complaint, started
from .fake import FakeServer


def seeds(server: FakeServer) -> list[int]:
    """The seeds of the requests. Each call of a scene has its own seed."""
    return [body["seed"] for body in server.requests]


def committed(store: Path) -> set[int]:
    """The seeds of the calls that the record holds."""
    with closing(sqlite3.connect(store)) as record:
        return {json.loads(text)["sampling"]["seed"] for (text,) in record.execute("SELECT request FROM calls")}


@pytest.fixture
def listens() -> Iterator[None]:
    """Makes processes started here take Ctrl-C, even if the tests run in the background and so ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
@pytest.mark.parametrize("request_number", [1, 2, 3, 5, 7, 10, 14, 20])
def test_goes_on_where_it_was_ended(
    end: signal.Signals, request_number: int, simulate: Run, server: FakeServer, tmp_path: Path, listens: None
) -> None:
    """Whenever the command is killed or stopped, running it again repeats no completed call and finishes the scene."""
    args = ("simulate", ASKED, *SMALL, "--endpoint", server.url, "--json")
    server.latency = 0.05
    processes: list[subprocess.Popen[str]] = []
    server.faults = [lambda request: None] * (request_number - 1)
    server.faults.append(lambda request: processes[0].send_signal(end))
    processes.append(process := started(tmp_path, *args))
    out, err = process.communicate(timeout=HANG)
    assert out == ""
    if end == signal.SIGINT:
        assert process.returncode == 130
        assert beside_weights(err) == "matrix-align: stopped; finished work is kept, and the same command resumes\n"
    else:
        assert process.returncode == -signal.SIGKILL
    done = committed(tmp_path / "scenes.db")
    asked = seeds(server)
    assert done <= set(asked)
    assert len(asked) - len(done) <= 3  # of those asked at once
    server.requests.clear()

    answer = answer_of(simulate(ASKED, "--json"))
    assert done.isdisjoint(seeds(server))
    assert sum(call.recorded for call in answer.calls) == len(done)
    assert len(answer.calls) == len(done) + len(server.requests)
    assert answer.text
    with Store(tmp_path / "scenes.db") as store:
        assert [row.state for row in store.answers()] == ["steps finished"]


def test_reader_that_has_gone(server: FakeServer, tmp_path: Path) -> None:
    """As under `| head`, there is no traceback, and the scene is kept."""
    process = started(tmp_path, "simulate", ASKED, *SMALL, "--endpoint", server.url)
    assert process.stdout and process.stdout.readline()
    process.stdout.close()
    _, err = process.communicate(timeout=HANG)
    assert "Traceback" not in err
    with Store(tmp_path / "scenes.db") as store:
        assert len(store.answers()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is told by /dev/full")
def test_output_that_cant_be_written(tmp_path: Path) -> None:
    env = {**os.environ, "MATRIX_ALIGN_STORE": str(tmp_path / "scenes.db")}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "matrix_align", "scenes"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=HANG, env=env)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("matrix-align: ")


def test_a_process_of_its_own(cli_process: Run, server: FakeServer) -> None:
    """The command prints a scene and nothing else, and fails in one line, as one run by `main` does."""
    given = ("simulate", ASKED, *SMALL, "--endpoint", server.url, "--json")
    assert answer_of(cli_process(*given)).text
    assert "--colour" in complaint(cli_process(*given, "--colour", "red"))
    assert cli_process("--version").stdout.strip()


def test_no_command_is_help(cli: Run) -> None:
    done = cli()
    assert "matrix-align: " not in done.stderr
    assert len((done.stdout + done.stderr).split("Usage:")[1].splitlines()) > 5


def loaded_by(code: str) -> tuple[str, set[str]]:
    """What some Python code prints, and which of the heavy modules it loads."""
    heavy = {"aiohttp", "pydantic", "rich", "gguf", "xllamacpp", "numpy", "sqlite3"}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*({heavy} & set(sys.modules)))"],
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.stderr == ""
    *lines, modules = done.stdout.splitlines()
    return "\n".join(lines), set(modules.split())


def test_help_loads_nothing_heavy() -> None:
    """Only the help of a single command loads pydantic, because typer uses it to read options."""
    assert loaded_by("import matrix_align.cli")[1] == set()
    for args in ("--help", "scenes --help", "simulate --help", "scenes show --help"):
        help, modules = loaded_by(f"from matrix_align.cli import main, sys; sys.argv[1:] = {args.split()}; main()")
        assert "Usage:" in help
        assert modules <= (set() if args == "--help" else {"pydantic"})
