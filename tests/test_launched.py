"""Commands that end together with the process that launched them, and with everything they have started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from matrix_align.errors import InputError
from matrix_align.llm import launched as module
from matrix_align.llm.launched import launched, words_of

LAUNCHES = """
import sys, time
from matrix_align.llm.launched import launched
with launched(sys.argv[1:]):
    time.sleep(600)
"""
# A server with a child, a child in a session of its own, and one whose parent has ended; each writes its ID to a file.
SERVER = """
import os, signal, subprocess, sys, time
from pathlib import Path
folder, kind, deaf = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "deaf"
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
def start(kind, **more):
    subprocess.Popen([sys.executable, "-c", os.environ["SERVER"], sys.argv[1], kind, sys.argv[3]], **more)
if kind == "server":
    start("child")
    start("away", start_new_session=True)
    start("parent")
if kind == "parent":
    start("orphan")
else:
    (folder / f"{kind}.new").write_text(str(os.getpid()))
    (folder / f"{kind}.new").rename(folder / kind)
    time.sleep(600)
"""
KINDS = ("server", "child", "away", "orphan")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    monkeypatch.setenv("SERVER", SERVER)
    return lambda hearing: [sys.executable, "-c", SERVER, str(tmp_path), "server", hearing]


@pytest.fixture(autouse=True)
def _leave_nothing(tmp_path: Path) -> Iterator[None]:
    yield
    for path in tmp_path.iterdir():
        if path.name in KINDS and alive([int(path.read_text())]):
            os.kill(int(path.read_text()), signal.SIGKILL)


def started(folder: Path) -> list[int]:
    """The processes, once all of them run."""
    wait_until(lambda: all((folder / kind).exists() for kind in KINDS))
    return [int((folder / kind).read_text()) for kind in KINDS]


def alive(processes: Sequence[int]) -> list[int]:
    """The processes that still run. A zombie does not count."""
    found = []
    for pid in processes:
        with suppress(psutil.NoSuchProcess):
            found += [pid] if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else []
    return found


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_all_end_with_their_launcher(end: signal.Signals, server: Callable[[str], list[str]], tmp_path: Path) -> None:
    """This holds even after SIGKILL, when the launcher can do nothing."""
    with subprocess.Popen([sys.executable, "-c", LAUNCHES, *server("hears")], stderr=subprocess.DEVNULL) as launcher:
        processes = started(tmp_path)
        launcher.send_signal(end)
        wait_until(lambda: not alive(processes))


def test_all_end_with_the_block(server: Callable[[str], list[str]], tmp_path: Path) -> None:
    """The block returns once they have ended."""
    with pytest.raises(KeyError), launched(server("hears")) as process:
        processes = started(tmp_path)
        assert alive(processes) == processes and process.poll() is None
        raise KeyError
    assert not alive(processes)


def test_deaf_server_is_killed(
    server: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    with launched(server("deaf")) as process:
        processes = started(tmp_path)
    assert not alive(processes) and process.returncode == 128 + signal.SIGKILL


def test_server_that_ends_by_itself(server: Callable[[str], list[str]], tmp_path: Path) -> None:
    """Its status is reported, and what it left running ends too."""
    with launched(server("hears")) as process:
        first, *rest = started(tmp_path)
        os.kill(first, signal.SIGKILL)
        assert process.wait(120) == 128 + signal.SIGKILL
        assert not alive([pid for pid in rest if (tmp_path / "away").read_text() != str(pid)])
    with launched([sys.executable, "-c", "raise SystemExit(7)"]) as process:
        assert process.wait(120) == 7


def test_command_that_cant_be_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="--serve can't run no-such-server"):
        words_of("no-such-server {model}")
    assert words_of(f"{sys.executable} 'a b' {{model}}") == [sys.executable, "a b", "{model}"]
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    assert words_of(str(broken)) == [str(broken)]
    with launched([str(broken)]) as process:
        assert process.wait(120) == 126
    assert f"can't run {broken}: " in capfd.readouterr().err
