"""The gateway's state: the model behind it, the names that it answers to, and how much it takes at once.

Knows no HTTP.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ...errors import InputError, ModelError
from ...llm.endpoint import Endpoint
from ...llm.recorded import Recorded
from ...methods import METHODS
from ...store import Store

FRESH = 5.0  # seconds for which the upstream's list of models is not asked for again


@dataclass(frozen=True)
class Limits:
    """What one gateway takes. `body` is in bytes, the others that are no counts in seconds."""

    body: int = 16 * 2**20
    body_seconds: float = 30.0
    requests: int = 1024  # in flight, of all kinds
    scenes: int = 8  # answers that methods make at once
    waiting: int = 64  # requests for such an answer that wait for their turn


class Gateway:
    """The model `upstream`, with a record for what methods do with it.

    Raises InputError if the model has the name of a method, since a name must mean one thing.
    """

    def __init__(self, upstream: Endpoint, store: Store, limits: Limits | None = None) -> None:
        if upstream.name in METHODS:
            raise InputError(
                f"the model at {upstream.url} is called {upstream.name}, as a method is here; "
                "serve it under another name"
            )
        self.upstream = upstream
        self.store = store
        self.recorded = Recorded(upstream, store)
        self.limits = limits or Limits()
        self.in_flight = 0
        self._listed: dict[str, dict[str, Any]] = {}
        self._asked_at = -FRESH

    async def models(self) -> dict[str, dict[str, Any]]:
        """What the upstream says of its models, by name. If it has no list or is away: what is known."""
        if time.monotonic() - self._asked_at >= FRESH:
            self._asked_at = time.monotonic()
            with suppress(ModelError):
                self._listed = await self.upstream.listed()
        return {self.upstream.name: {}, **self._listed}

    async def has(self, model: str) -> bool:
        """Whether the upstream serves a model of this name."""
        return model == self.upstream.name or model in self._listed or model in await self.models()
