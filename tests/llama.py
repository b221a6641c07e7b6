"""A stand-in for the embedded server, which keeps slots as llama.cpp does."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from .fake import completion, error


@dataclass
class Llama:
    """What each slot has read; its files are in `states`. Requests at the stage `hold` wait, and `holds` counts them.

    It refuses the stage `refuses`. `restored` holds what was restored.
    """

    states: Path
    url: str = ""
    read: dict[int, str] = field(default_factory=dict)
    restored: list[str] = field(default_factory=list)
    refuses: str = ""
    did: Counter[str] = field(default_factory=Counter)
    hold: str = ""
    holds: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    busy: set[int] = field(default_factory=set)

    async def _stage(self, stage: str) -> None:
        self.did[stage] += 1
        if stage == self.hold:
            self.holds.release()
            await self.go_on.wait()

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        slot = body["id_slot"]
        assert slot not in self.busy, "a slot has one request at a time"
        self.busy.add(slot)
        try:
            self.read[slot] = "half"  # until it is done
            await self._stage("completion")
            self.read[slot] = "\n".join(f"{message['role']}: {message['content']}" for message in body["messages"])
            return completion("Sea.")
        finally:
            self.busy.remove(slot)

    async def act(self, request: web.Request) -> web.Response:
        slot, action = int(request.match_info["slot"]), request.query["action"]
        file = self.states / (await request.json())["filename"]
        await self._stage(action)
        if action == self.refuses:
            return error(400, f"Unable to {action} slot")
        if action == "save":
            file.write_text(self.read[slot])
        else:
            self.read[slot] = file.read_text()
            self.restored.append(self.read[slot])
        return web.json_response({})


@asynccontextmanager
async def llama() -> AsyncIterator[Llama]:
    folder = tempfile.TemporaryDirectory()
    server = Llama(Path(folder.name))
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.complete)
    app.router.add_post("/slots/{slot}", server.act)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)  # as llama.cpp: who leaves ends it
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        server.go_on.set()
        await runner.cleanup()
        folder.cleanup()
