"""A llama.cpp server on the loopback, for machines without another server. Serves weights by their name.

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
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import EmbeddedError, InputError
from .builtin import BUILTIN
from .fit import check
from .gguf import base_of, sha256
from .heads import Heads
from .machine import cores
from .weights import cache_dir, weights_of


@dataclass(frozen=True)
class Served:
    """A model that is being served: its address, key and weights; `source` says where they were fetched, if they were.

    `adapter` is the digest of a LoRA on top of the weights. The server saves slots' states in `states`, as long as it
    runs; `heads` are those that outlast it.
    """

    url: str
    key: str
    name: str
    digest: str
    slots: int
    adapter: str = ""
    source: str = ""
    states: Path = Path()
    heads: Heads | None = None


@contextmanager
def serve(model: str | Path, slots: int = 0, adapter: Path | None = None) -> Iterator[Served]:
    """A llama.cpp server with the weights that `model` names (see names.py), until the block ends.

    `adapter` is the GGUF file of a LoRA, which each request turns on or off (see prefix_cache.py).
    `slots` is how many replies are written at once; 0: as many as suit the model.

    It listens on the loopback, on a free port, and has no web page. It wants a random key: without one, it would
    answer any web page in a browser. It stops only after its clients have closed, so always close them inside the
    block, as `async with Endpoint` does.

    Raises InputError for a file that is no GGUF or does not fit into memory, and EmbeddedError if the weights or the
    server can't be had.
    """
    if entry := BUILTIN.get(str(model).lower()):
        check(entry)  # before it is fetched
    weights = weights_of(str(model))
    if not entry:
        check(weights)
    path, slots = weights.path, slots or weights.slots

    # The server's threads wait for each other some 50,000 times a second. By default they spin for milliseconds first,
    # so two servers on the same cores hardly move. This short spin costs a single server nothing. The library reads the
    # variable when it loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from xllamacpp import CommonAdapterLoraInfo, CommonParams, Server

    params, key = CommonParams(), secrets.token_urlsafe(24)
    params.model.path = str(path)
    params.model_alias = {weights.name}
    params.n_parallel = slots
    params.n_ctx = slots * weights.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = cores()
    params.n_threads_http = slots + 2
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.api_keys, params.ui = [key], False
    # Of prompts that no slot holds any more. The server does not tell with which adapter they were read.
    params.cache_ram_mib = 0 if adapter else 256
    lora = ""
    if adapter:
        lora = weights_of(str(adapter)).digest
        if (base := base_of(adapter)) and base != weights.digest and base != sha256(path):
            raise InputError(f"{adapter} was not tuned from {model}; give --model the one that it was tuned from")
        params.lora_adapters = [CommonAdapterLoraInfo(str(adapter), 1.0)]
    states = _states()
    params.slot_save_path, params.endpoint_slots = f"{states}/", True
    params.verbosity = 0
    for setting, value in weights.sampler.items():
        setattr(params.sampling, setting, value)
    try:
        server = Server(params)
    except RuntimeError as error:
        shutil.rmtree(states, ignore_errors=True)
        if not weights.source or adapter:
            what = f"{model} with {adapter}" if adapter else str(model)
            wanted = "was it tuned from this model?" if adapter else "is it a whole GGUF file of a language model?"
            raise InputError(f"llama.cpp can't load {what} ({error}): {wanted}") from None
        raise EmbeddedError(
            f"llama.cpp can't serve {model} ({error}); if {path.resolve()} is damaged, delete it to fetch it again"
        ) from None
    runs = False
    try:
        _await_loop(server.listening_address, key)
        runs = True
        engine = f"xllamacpp {version('xllamacpp')}"  # no other version may take its states
        yield Served(
            f"{server.listening_address}/v1",
            key,
            weights.name,
            weights.digest,
            slots,
            lora,
            weights.source,
            states,
            Heads(cache_dir() / "heads", engine),
        )
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
        raise EmbeddedError(f"the embedded server has started but does not answer ({error}); try again") from None
    finally:
        connection.close()


def _states() -> Path:
    """A new folder for the slots' states. Removes the folders of processes that were killed."""
    for left in Path(tempfile.gettempdir()).glob("matrix-align-states-*"):
        owner = left.name.split("-")[3]
        if owner.isdecimal() and not _runs(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"matrix-align-states-{os.getpid()}-"))


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
