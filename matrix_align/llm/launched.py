"""Commands that end when this process ends: a server of weights, or one of our own commands.

A supervisor runs the command; it is this module, run as a program. It holds the reading end of a pipe whose other end
is ours. The operating system closes our end when this process ends, even after a SIGKILL. The supervisor then ends the
command and everything that the command has started. Watching our process ID would not do: the system reuses it, and a
zombie keeps it. Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from ..errors import InputError, Unreachable

if TYPE_CHECKING:
    from .endpoint import Endpoint

PATIENCE = 30.0  # seconds that a command has to end by itself before it is killed
STARTS = 900.0  # seconds that a server may take to load a model
CANNOT_RUN = 126  # exit status, as shells have it


@contextmanager
def launched(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `command` until the block ends. Its standard output is dropped; its standard error is ours.

    The process in the block stands for the command. It ends when the command ends, with the same status. If a signal
    ended the command, the status is 128 plus the signal's number.
    """
    supervisor = subprocess.Popen(
        [sys.executable, "-m", __name__, str(PATIENCE), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us, and we end the command
    )
    assert supervisor.stdin
    try:
        yield supervisor
    finally:
        supervisor.stdin.close()
        supervisor.wait()


@asynccontextmanager
async def serving(command: Sequence[str], endpoint: Endpoint) -> AsyncIterator[None]:
    """Runs a server's command until the block ends. The block begins when `endpoint` answers.

    Raises InputError if something else answers there already or if the command ends early. Raises Unreachable if a chat
    is refused, or not answered within STARTS seconds.
    """
    until = time.monotonic() + PATIENCE
    while await endpoint.answers() is not False:  # perhaps our last server, which is still ending
        if time.monotonic() > until:
            raise InputError(f"something answers at {endpoint.url}; stop it, --serve starts a server there")
        await asyncio.sleep(1)
    with launched(command) as server:
        until = time.monotonic() + STARTS
        while (answers := await endpoint.answers()) is not True:
            if (status := server.poll()) is not None:
                raise InputError(f"the command of --serve ended with status {status} before it answered")
            if answers is None or time.monotonic() > until:
                why = "refuses a chat" if answers is None else f"does not answer {STARTS:g} s after --serve was started"
                raise Unreachable(f"{endpoint.url} {why}: is --endpoint where it serves {{model}} under that name?")
            await asyncio.sleep(1)
        yield


def words_of(serve: str) -> list[str]:
    """The command of --serve, split like a shell does. Raises InputError if it can't be run."""
    try:
        words = shlex.split(serve, posix=sys.platform != "win32")
    except ValueError as error:
        raise InputError(f"--serve {serve}: {error}") from None
    if not words:
        raise InputError("--serve is empty; wanted a command, as 'vllm serve {model} --port 8000'")
    if not shutil.which(words[0]):
        raise InputError(f"--serve can't run {words[0]}: no such program is found, or it may not be executed")
    return words


def _supervise(patience: float, command: Sequence[str]) -> int:
    """Runs `command` until it or standard input ends. Returns the exit status."""
    asked_to_end = threading.Event()

    def await_end_of_input() -> None:
        with suppress(OSError):
            os.read(0, 1)
        asked_to_end.set()

    def end(*_: object) -> None:
        asked_to_end.set()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=await_end_of_input, daemon=True).start()
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"can't run {command[0]}: {error.strerror}", file=sys.stderr)
        return CANNOT_RUN
    while process.poll() is None and not asked_to_end.wait(0.1):
        pass
    _end(process.pid, patience)
    status = process.wait()
    return 128 - status if status < 0 else status


def _end(pid: int, patience: float) -> None:
    """Ends a process and all it has started: asks them to end, and kills those that are left after `patience`."""
    family: set[psutil.Process] = set()
    for kill in (False, True):
        until = time.monotonic() + patience
        told: set[psutil.Process] = set()
        while time.monotonic() < until:
            family = {each for each in family | _family(pid) if _lives(each)}
            if not family:
                return
            for each in family - told:
                with suppress(psutil.Error):
                    each.kill() if kill else each.terminate()
            told |= family
            time.sleep(0.05)


def _family(pid: int) -> set[psutil.Process]:
    """The process, its descendants and its session, which also holds children whose parents have ended."""
    members = set()
    for each in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if each.pid == pid or (hasattr(os, "getsid") and os.getsid(each.pid) == pid):
                members |= {each, *each.children(recursive=True)}
    return members


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


if __name__ == "__main__":
    sys.exit(_supervise(float(sys.argv[1]), sys.argv[2:]))
