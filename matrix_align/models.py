"""The model that a command line names: one on a server, or one served here.

Owns where the key of a server comes from. A key is never given on the command line, printed or kept.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from .embedded import serve
from .endpoint import Endpoint
from .errors import InputError
from .slots import Slotted


def key() -> str | None:
    return os.environ.get("MATRIX_ALIGN_API_KEY") or os.environ.get("OPENAI_API_KEY")


@asynccontextmanager
async def opened(endpoint: str | None, model: str | None) -> AsyncIterator[Endpoint]:
    """The model `model` at the URL `endpoint`; without one the GGUF file `model`, or the bundled model, served here."""
    if endpoint:
        async with Endpoint(endpoint, model, key=key()) as there:
            yield there
        return
    if model and not model.endswith(".gguf"):
        raise InputError(f"--model {model} is no .gguf file; to name a model on a server give --endpoint URL too")
    with serve(Path(model) if model else None) as served:
        async with Slotted(served) as here:
            yield here
