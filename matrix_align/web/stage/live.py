"""Follows one answer in the record while it is made, and tells the page each time it has grown (server-sent events).

Whoever makes the answer may be another process, such as `matrix-align simulate`, and writes each state of it into the
record. So the answer's row is looked at a few times a second, and what this server does about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ...errors import StoreError
from ...store import Store
from ..replies import Refusal, send_refusal
from .player import Player

EVERY = 0.25  # seconds between two looks
ALIVE = 15.0  # seconds after which a silent stream says that it is still there
MOST = 100  # streams that are open; each looks by itself
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Live:
    """The streams of the record at this path, as an ASGI app. The answer's id is in the address.

    `player` knows whether this server plays it.

    One ends with an event `end` once the answer is no longer unfinished, or can't be read. All break off at once when
    the server `ends`. A browser then tries again for as long as the page is open.
    """

    def __init__(self, record: Path, ends: asyncio.Event, player: Player | None) -> None:
        self._record = record
        self._player = player
        self._ends = ends
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._open >= MOST:
            await send_refusal(send, Refusal(503, f"{MOST} pages are followed already; this one asks again by itself"))
            return
        events = _events(self._record, scope["path_params"]["id"], self._ends, self._player)
        self._open += 1
        try:
            await StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)(scope, receive, send)
        finally:
            self._open -= 1


async def _events(record: Path, id: str, ends: asyncio.Event, player: Player | None) -> AsyncIterator[str]:
    before, silent = None, 0.0
    while not ends.is_set():
        now = *await run_in_threadpool(_look, record, id), player.doing(id) if player else None
        if now != before:
            state, calls, doing = now
            ended = state != "unfinished"
            data = to_json({"state": doing.state if doing and not ended else state, "calls": calls}).decode()
            yield f"event: {'end' if ended else 'grown'}\ndata: {data}\n\n"
            if ended:
                return
            before, silent = now, 0.0
        elif silent >= ALIVE:
            yield ": still here\n\n"
            silent = 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY):
                await ends.wait()
        silent += EVERY


def _look(record: Path, id: str) -> tuple[str, int]:
    """The answer's state and its number of calls."""
    try:
        with Store(record, read_only=True) as store:
            rows = store.select("SELECT state, calls FROM answers WHERE id = ?", id)
    except StoreError as error:
        return str(error), 0
    return rows[0] if rows else ("gone", 0)
