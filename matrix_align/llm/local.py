"""A llama.cpp server on the loopback, for machines without another server. Serves a GGUF file or the bundled weights.

The server runs inside this process, so it ends with it in every case. It is an ordinary endpoint.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import EmbeddedError, InputError
from .gguf import base_of, sha256
from .weights import NAME, SAMPLER, SHA256, weights

SLOTS = 8  # replies written at once; on a CPU, more than 8 are slower overall
SLOT_CONTEXT = 4096  # tokens of prompt and reply


@dataclass(frozen=True)
class Served:
    """A model that is being served: its address, key and weights. `adapter` is the digest of a LoRA on top of them."""

    url: str
    key: str
    name: str
    digest: str
    slots: int
    adapter: str = ""


@contextmanager
def serve(gguf: Path | None = None, slots: int = SLOTS, adapter: Path | None = None) -> Iterator[Served]:
    """A llama.cpp server with the bundled weights, or those of a GGUF file, until the block ends.

    `adapter` is the GGUF file of a LoRA, which each request turns on or off (see prefix_cache.py).

    It listens on the loopback, on a free port, and has no web page. It wants a random key: without one, it would
    answer any web page in a browser. It stops only after its clients have closed, so always close them inside the
    block, as `async with Endpoint` does.

    Raises InputError for a file that is no GGUF, and EmbeddedError if the weights or the server can't be had.
    """
    if gguf is None:
        path, name, digest = weights(), NAME, f"{SHA256}:Q8_0"
    else:
        path, name, digest = gguf, gguf.stem, _digest(gguf)

    # The server's threads wait for each other some 50,000 times a second. By default they spin for milliseconds first,
    # so two servers on the same cores hardly move. This short spin costs a single server nothing. The library reads the
    # variable when it loads.
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
    if gguf is None:
        for setting, value in SAMPLER.items():
            setattr(params.sampling, setting, value)
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
    runs = False
    try:
        _await_loop(server.listening_address, key)
        runs = True
        yield Served(f"{server.listening_address}/v1", key, name, digest, slots, lora)
    finally:
        if not runs:  # Ctrl-C came in between
            with suppress(EmbeddedError):
                _await_loop(server.listening_address, key)
        del server
        shutil.rmtree(states, ignore_errors=True)


def _await_loop(address: str, key: str) -> None:
    """Returns once the server answers from its queue. A server that is stopped earlier waits for ever."""
    where = urlsplit(address)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=60)
    try:
        connection.request("GET", "/slots", headers={"Authorization": f"Bearer {key}"})
        connection.getresponse().read()
    except (OSError, HTTPException) as error:
        raise EmbeddedError(f"the embedded server has started and does not answer ({error}); try again") from None
    finally:
        connection.close()


def _states() -> str:
    """A new folder for the slots' states. Removes the folders of processes that were killed."""
    for left in Path(tempfile.gettempdir()).glob("matrix-align-states-*"):
        owner = left.name.split("-")[3]
        if owner.isdecimal() and not _runs(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"matrix-align-states-{os.getpid()}-")


def _runs(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # os.kill would end the process there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _cores() -> int:
    """The number of cores this process may use: the share of a container or batch system, not the whole machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _digest(gguf: Path) -> str:
    try:
        with open(gguf, "rb") as file:
            if file.read(4) != b"GGUF":
                raise InputError(f"{gguf} is no GGUF file; --model takes one, or a name together with --endpoint")
        return sha256(gguf)
    except OSError as error:
        raise InputError(f"can't read {gguf}: {error.strerror}") from None
