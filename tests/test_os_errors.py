"""Errors of the operating system: one line says what failed. Standard output is blamed only for its own errors."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from matrix_align import cli as cli_module
from matrix_align import database
from matrix_align.store import Store

from .conftest import Run, complaint
from .fake import FakeServer
from .records import answer, rows

FULL = Path("/dev/full")
ASKED = ("simulate", "How do I plant a tree?", "--roles", "1", "--steps", "1")


def to(target: Any, *args: str, unbuffered: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the command with this standard output."""
    command = [sys.executable, "-m", "matrix_align", *args]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    return subprocess.run(command, stdout=target, stderr=subprocess.PIPE, text=True, timeout=300, env=env)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_standard_output_that_is_full(path: Path, options: tuple[str, ...], unbuffered: str) -> None:
    with Store(path) as store:
        for number in range(20):
            store.save(answer(f"{number:016}"))
    with FULL.open("w") as full:
        done = to(full, "scenes", "--store", str(path), *options, unbuffered=unbuffered)
    assert done.returncode == 1
    assert done.stderr == "matrix-align: can't write to standard output: No space left on device\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_reader_that_has_left(path: Path, options: tuple[str, ...], unbuffered: str) -> None:
    with Store(path) as store:
        store.save(answer())
    end, pipe = os.pipe()
    os.close(end)
    done = to(pipe, "scenes", "--store", str(path), *options, unbuffered=unbuffered)
    os.close(pipe)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/there/answers.jsonl"), "can't use /there/answers.jsonl"),
        (OSError(errno.ENOSPC, "No space left on device", "/there/table.md"), "/there/table.md: No space left"),
        (OSError(errno.ENOSPC, "No space left on device"), "free some and run the same command again"),
        (OSError("no number"), "no number"),
        (TimeoutError(), "TimeoutError"),
    ],
    ids=str,
)
def test_any_other_error_is_not_the_output(
    cli: Run, monkeypatch: pytest.MonkeyPatch, error: OSError, wanted: str
) -> None:
    """This holds whatever part of the command meets the error."""
    app = typer.Typer()

    @app.command()
    def fails(word: str) -> None:
        raise error

    monkeypatch.setattr(cli_module, "app", app)
    told = complaint(cli("word"))
    assert wanted in told and "output" not in told


def test_full_disk_under_the_record(
    cli: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A limit of SQLite's stands in for the disk. Once there is space, the same command continues."""
    opened = database._opened_to_write

    def small(path: Path) -> Any:
        db = opened(path)
        db.execute("PRAGMA max_page_count = 22")
        return db

    server.on["text"] = lambda body: "It depends. " * 500
    asked = (*ASKED, "--endpoint", server.url, "--json")
    with monkeypatch.context() as full:
        full.setattr(database, "_opened_to_write", small)
        told = complaint(cli(*asked))
    assert "scenes.db" in told and "full" in told and "free some space" in told
    kept = rows(tmp_path / "scenes.db", "SELECT count(*) FROM calls")[0][0]
    before = len(server.requests)
    assert cli(*asked).returncode == 0
    assert rows(tmp_path / "scenes.db", "SELECT count(*) FROM calls")[0][0] == len(server.requests) - before + kept
