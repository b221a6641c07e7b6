"""The embedded server's slots: a prompt's beginning that one slot has read is read by no other again.

llama.cpp keeps the state of a prompt slot by slot, and of one prompt a slot. Here each request is sent to the free slot
that holds the most of its prompt; where a state that was saved holds more, that is put into the slot first. On a CPU
reading a prompt takes seconds and putting back a state takes milliseconds. Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from .embedded import Served
from .endpoint import Endpoint

KEPT = 16  # states, of some 10 to 25 MB each
WORTH = 300  # characters of a prompt: putting back a state takes about as long as reading these


class Slotted(Endpoint):
    """The embedded server's model."""

    def __init__(self, served: Served) -> None:
        super().__init__(served.url, served.name, key=served.key, digest=served.digest)
        self._held = dict.fromkeys(range(served.slots), "")  # the text each slot has read
        self._free = set(self._held)
        self._turn = asyncio.Semaphore(served.slots)
        self._saved: dict[str, int] = {}  # texts whose states are kept, in which files; the last used last
        self._server = served.url.removesuffix("/v1")

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        if not body or "messages" not in body:
            return await super()._request(method, path, body)
        text = "\n".join(f"{message['role']}: {message['content']}" for message in body["messages"])
        async with self._turn:
            slot = max(self._free, key=lambda each: shared(text, self._held[each]))
            self._free.remove(slot)
            try:
                await self._prepare(slot, text)
                self._held[slot] = ""  # until it is known to have read all of it
                reply = await super()._request(method, path, {**body, "id_slot": slot})
                self._held[slot] = text
                await self._keep(slot, text)
                return reply
            finally:
                self._free.add(slot)

    async def _prepare(self, slot: int, text: str) -> None:
        best = max(self._saved, key=lambda each: shared(text, each), default="")
        if shared(text, best) >= shared(text, self._held[slot]) + WORTH:
            self._saved[best] = file = self._saved.pop(best)
            if await self._act(slot, "restore", file):
                self._held[slot] = best

    async def _keep(self, slot: int, text: str) -> None:
        """Saves the slot's state where it holds what no saved one does; what was not used for longest goes."""
        if any(shared(text, each) >= len(text) - WORTH for each in self._saved):
            return
        file = self._saved.pop(next(iter(self._saved))) if len(self._saved) >= KEPT else len(self._saved)
        if await self._act(slot, "save", file):
            self._saved[text] = file

    async def _act(self, slot: int, action: str, file: int) -> bool:
        """Whether the server has done it; if not, the prompt is just read as a whole."""
        assert self._session
        url = f"{self._server}/slots/{slot}?action={action}"
        try:
            async with self._session.post(url, json={"filename": f"{file}.state"}) as response:
                await response.read()
                return response.status == 200
        except (aiohttp.ClientError, OSError):
            return False


def shared(one: str, other: str) -> int:
    """How many characters the two texts begin with in common."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[:middle] == other[:middle]:
            least = middle
        else:
            most = middle - 1
    return least
