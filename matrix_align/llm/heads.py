"""The beginnings that prompts share, kept on disk as llama.cpp's states, so that a later process need not read them.

A prompt's head is all of it but the last message: the instruction and its examples, which are the same in every scene.
A head is kept once it has come twice, in whatever processes; what comes once, like somebody's dialogue, never is.
llama.cpp itself compares the tokens of a state with those of a prompt, so a state can't stand for what it is not. Knows
no server.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

BOUND = 400_000_000  # bytes of states on disk; a head of 400 tokens takes 12 MB with the 1.5B
SEEN = 1000  # heads known to have come
HOUR = 3600.0  # seconds; nothing is written for that long


class Heads:
    """The states in one folder that `engine`, a version of llama.cpp and its settings, has made.

    A head is a text that begins with the digest of the weights.

    Processes share the folder. A state's file is named by its head and by its own content, and is written under
    another name first. So no reader takes half a file or a damaged one for a state. A disk that can't be written to
    only means that no state is kept.
    """

    def __init__(self, folder: Path, engine: str) -> None:
        self._folder, self._engine = folder, engine
        self._tidy()

    def has(self, head: str) -> bool:
        """Whether there is a state of this head."""
        return any(self._folder.glob(f"{self._name(head)}.*.state"))

    def state(self, head: str) -> bytes | None:
        """The state of this head, if there is one. A damaged file is removed."""
        for path in self._folder.glob(f"{self._name(head)}.*.state"):
            with suppress(OSError):
                content = path.read_bytes()
                if path.name.split(".")[1] == _sha256(content):
                    path.touch()  # used last
                    return content
                path.unlink()
        return None

    def comes_again(self, head: str) -> bool:
        """Whether this head has come before. It has, from now on."""
        mark = self._folder / f"{self._name(head)}.seen"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            mark.touch(exist_ok=False)
        except FileExistsError:
            return True
        except OSError:
            pass
        return False

    def keep(self, head: str, content: bytes) -> None:
        """Keeps the state of a head. The states that were not used for longest make room for it."""
        unfinished = self._folder / f"{os.getpid()}.part"
        with suppress(OSError):
            unfinished.write_bytes(content)
            os.replace(unfinished, self._folder / f"{self._name(head)}.{_sha256(content)}.state")
        self._tidy()

    def drop(self, head: str) -> None:
        """Removes the state of a head, which llama.cpp does not take."""
        for path in self._folder.glob(f"{self._name(head)}.*.state"):
            with suppress(OSError):
                path.unlink()

    def _name(self, head: str) -> str:
        return _sha256(f"{self._engine}\n{head}".encode())

    def _tidy(self) -> None:
        _drop_oldest(self._folder.glob("*.state"), BOUND, per_file=0)
        _drop_oldest(self._folder.glob("*.seen"), SEEN, per_file=1)
        for left in self._folder.glob("*.part"):  # by a process that was killed
            with suppress(OSError):
                if left.stat().st_mtime < time.time() - HOUR:
                    left.unlink()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _drop_oldest(paths: Iterable[Path], bound: int, per_file: int) -> None:
    """Removes the files used longest ago until the rest is within the bound, of bytes or else of files."""
    found = []
    for path in paths:
        with suppress(OSError):  # another process has removed it
            found.append((path.stat().st_mtime, per_file or path.stat().st_size, path))
    total = 0
    for _, size, path in sorted(found, reverse=True):
        total += size
        if total > bound:
            with suppress(OSError):
                path.unlink()
