"""The embedded server's slots: a prompt's beginning that one slot has read is read by no other again.

llama.cpp keeps the state of a prompt slot by slot, and of one prompt a slot. Here each request is sent to the free slot
that holds the most of its prompt; where a state that was saved holds more, that is put into the slot first. On a CPU
reading a prompt takes seconds and putting back a state takes milliseconds. Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .endpoint import Endpoint
from .local import Served

KEPT = 16  # states, of some 10 to 25 MB each
WORTH = 300  # characters of a prompt: putting back a state takes about as long as reading these


class Slots:
    """What the slots of one server hold."""

    def __init__(self, count: int) -> None:
        self.held = dict.fromkeys(range(count), "")  # the text each slot has read
        self.free = set(self.held)
        self.turn = asyncio.Semaphore(count)
        self.saved: dict[str, int] = {}  # texts whose states are kept, in which files; the last used last
        self.unused = list(range(KEPT))  # files


class Slotted(Endpoint):
    """The embedded server's model, or where an adapter is loaded beside it the tuned one, unless `tuned` is False.

    Of both at once from one server, the second is made with the first's `slots`.
    """

    def __init__(self, served: Served, tuned: bool = True, slots: Slots | None = None) -> None:
        tuned = tuned and bool(served.adapter)
        digest = f"{served.digest}+{served.adapter}" if tuned else served.digest
        super().__init__(served.url, served.name, key=served.key, digest=digest)
        self.slots = slots or Slots(served.slots)
        # A prompt that was read with the adapter is of no use without it.
        self._which = "tuned\n" if tuned else "base\n"
        self._lora = {"lora": [{"id": 0, "scale": float(tuned)}]} if served.adapter else {}
        self._server = served.url.removesuffix("/v1")

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        if not body or "messages" not in body:
            return await super()._request(method, path, body)
        text = self._which + "\n".join(f"{message['role']}: {message['content']}" for message in body["messages"])
        slots = self.slots
        async with slots.turn:
            slot = max(slots.free, key=lambda each: shared(text, slots.held[each]))
            slots.free.remove(slot)
            try:
                await self._prepare(slot, text)
                slots.held[slot] = ""  # until it is known to have read all of it
                reply = await super()._request(method, path, {**body, "id_slot": slot, **self._lora})
                slots.held[slot] = text
                await self._keep(slot, text)
                return reply
            finally:
                slots.free.add(slot)

    async def _prepare(self, slot: int, text: str) -> None:
        slots = self.slots
        best = max(slots.saved, key=lambda each: shared(text, each), default="")
        if shared(text, best) >= shared(text, slots.held[slot]) + WORTH:
            slots.saved[best] = file = slots.saved.pop(best)
            if await self._act(slot, "restore", file):
                slots.held[slot] = best

    async def _keep(self, slot: int, text: str) -> None:
        """Saves the slot's state where it holds what no saved one does; what was not used for longest goes."""
        saved = self.slots.saved
        if any(shared(text, each) >= len(text) - WORTH for each in saved):
            return
        unused = self.slots.unused
        file = unused.pop() if unused else saved.pop(next(iter(saved)))
        if await self._act(slot, "save", file):
            saved[text] = file
        else:
            unused.append(file)

    async def _act(self, slot: int, action: str, file: int) -> bool:
        """Whether the server has done it; if not, the prompt is just read as a whole."""
        address = f"{self._server}/slots/{slot}?action={action}"
        return await self._http.status("POST", address, {"filename": f"{file}.state"}, 60) == 200


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
