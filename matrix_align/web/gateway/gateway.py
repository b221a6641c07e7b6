"""The gateway's state: the model behind it, the names that it answers to, and how much it takes at once.

Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from ...errors import InputError, MatrixAlignError, ModelError
from ...llm.endpoint import Endpoint, has_no_list
from ...llm.recorded import Recorded
from ...methods import METHODS
from ...store import Store
from ...types import shorten
from ..figures import Figures
from ..replies import Refusal
from .failures import refusal_of

WAIT = 10  # seconds after which a client may ask again, when too many answers wait
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

    `alias` is another name of the model's, which its server does not know.
    `defaults` are settings of methods, fields of `Sampling`, and `simulate`, for requests that leave them open.
    Raises InputError if the model has the name of a method, since a name must mean one thing.
    """

    def __init__(
        self,
        upstream: Endpoint,
        store: Store,
        limits: Limits | None = None,
        defaults: Mapping[str, Any] | None = None,
        alias: str = "",
    ) -> None:
        if upstream.name in METHODS:
            raise InputError(
                f"the model at {upstream.url} is called {upstream.name}, as a method is here; "
                "serve it under another name"
            )
        self.upstream = upstream
        self.store = store
        self.recorded = Recorded(upstream, store)
        self.limits = limits or Limits()
        self.defaults = dict(defaults or {})
        self.alias = alias
        self.figures = Figures()
        self.in_flight = 0
        self._places = 0  # that are taken
        self._turns = asyncio.Semaphore(self.limits.scenes)
        self._listed: dict[str, dict[str, Any]] = {}
        self._unlisted: MatrixAlignError | None = None  # why the list could not be had when it was last asked for
        self._asked_at = -FRESH
        self._asking = asyncio.Lock()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A block in which one answer of a method waits for its turn and is made. Raises Refusal if too many wait."""
        if self._places >= self.limits.scenes + self.limits.waiting:
            raise Refusal(429, "too many answers wait for their turn", headers={"Retry-After": str(WAIT)})
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    def turn(self) -> AbstractAsyncContextManager[None]:
        """The part of a place's block in which the answer is made, once fewer than the limit are being made."""
        return self.figures.turn(self._turns)

    async def models(self) -> dict[str, dict[str, Any]]:
        """What the upstream says of its models, by name. If it has no list or is away: what is known."""
        async with self._asking:  # whoever comes while the list is being fetched waits for it
            if time.monotonic() - self._asked_at >= FRESH:
                self._unlisted = None
                try:
                    self._listed = await self.upstream.listed()
                except MatrixAlignError as error:
                    self._unlisted = error
                self._asked_at = time.monotonic()
        known = {self.upstream.name: {}, **self._listed}
        return {**known, self.alias: known[self.upstream.name]} if self.alias else known

    async def find(self, model: str) -> dict[str, Any]:
        """What the upstream says of one of its models. Raises Refusal if there is none, or if it can't be asked."""
        if model in self._listed or model == self.upstream.name:
            return self._listed.get(model, {})
        listed = await self.models()
        if model in listed:
            return listed[model]
        why = self._unlisted
        if why and not (isinstance(why, ModelError) and has_no_list(why)):
            raise refusal_of(why)
        near = difflib.get_close_matches(model[:100], [*METHODS, *listed], 1)  # names are not long
        advice = f"did you mean {near[0]}?" if near else "GET /v1/models lists those there are"
        raise Refusal(404, f"there is no model {shorten(model, 100)!r} here; {advice}", "model_not_found", "model")
