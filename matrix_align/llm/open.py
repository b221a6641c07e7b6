"""The model that a command line names: on a server, or served by this process, with an adapter or without.

Owns where the key of a server comes from. A key is never given on the command line, printed or stored.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ..errors import InputError
from ..types import shorten
from . import speeds
from .builtin import BUILTIN, DEFAULT
from .dialect import log
from .endpoint import Endpoint
from .local import serve
from .prefix_cache import Slotted

ADAPTER = "adapter.gguf"  # what `tune` calls the LoRA that llama.cpp reads


def key() -> str | None:
    return os.environ.get("MATRIX_ALIGN_API_KEY") or os.environ.get("OPENAI_API_KEY")


@asynccontextmanager
async def open_model(
    endpoint: str | None,
    model: str | None,
    adapter: Path | None = None,
    digest: str | None = None,
    digest_by: str = "--digest",
) -> AsyncIterator[Endpoint]:
    """The model `model` at the URL `endpoint`. Without a URL: the weights that `model` names, served here.

    Without a name the built-in model DEFAULT is served. `adapter` is the folder that `tune` made from the model served
    here. `digest` says which weights a server has, and `digest_by` is the option that gives it; without it the server's
    list of models is asked. Raises InputError for names that do not fit.
    """
    if endpoint:
        if adapter:
            raise InputError("--adapter goes with a model served here; a server loads it itself, under a --model name")
        async with Endpoint(endpoint, model, key=key(), digest=digest) as there:
            log.info("%s", identity(there, digest is not None, digest_by))
            yield there
        return
    if digest is not None:
        raise InputError("--digest goes with --endpoint; the weights of a file served here are read")
    name = model or DEFAULT
    with serve(name, adapter=lora(adapter)) as served:
        if (entry := BUILTIN.get(name.lower())) and entry.warning:
            log.info("%s: %s", entry.name, entry.warning)
        async with Slotted(served) as here:
            try:
                yield here
            finally:
                speeds.note(served.digest, here.slots.written, here.slots.busy)


def identity(model: Endpoint, given: bool, digest_by: str = "--digest") -> str:
    """What tells this model's weights from others of its name, in one line."""
    if given:
        return f"{model.name} at {model.url}: its weights are known by {digest_by} {model.digest!r}"
    if model.identified_by:
        fields = ", ".join(model.identified_by)
        return f"{model.name} at {model.url}: its weights are known by what the server lists ({fields}): {model.digest}"
    if model.others:
        listed = shorten(", ".join(model.others), 200)
        return (
            f"{model.name} at {model.url}: the server lists {listed} and not {model.name}; if the name is right, name "
            f"the weights with {digest_by}"
        )
    why = "shows this key no list of its models, so it is not known" if model.hides else "does not tell"
    return f"{model.name} at {model.url}: the server {why} which weights these are; name them with {digest_by}"


def lora(adapter: Path | None) -> Path | None:
    """The file in an adapter's folder that llama.cpp loads."""
    if adapter and not adapter.is_dir():
        raise InputError(f"--adapter {adapter}: there is no such folder; wanted one that `matrix-align tune` made")
    if adapter and not (adapter / ADAPTER).is_file():
        raise InputError(
            f"--adapter {adapter} holds no {ADAPTER}; `matrix-align tune DATA --base MODEL --out {adapter}` makes it"
        )
    return adapter / ADAPTER if adapter else None
