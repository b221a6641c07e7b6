"""The embedded server's slots: what one slot has read of a prompt, no other slot reads again.

llama.cpp keeps the state of one prompt in each slot. Each request goes to the free slot that holds the most of its
prompt. If a saved state holds more, that state is first restored into the slot: one that this process has saved, or
that of a head which an earlier process has left on disk (heads.py). On a CPU reading a prompt takes seconds, but
restoring a state takes milliseconds. Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from ..errors import ModelError
from .completion import completion_of
from .endpoint import Endpoint
from .http import Hear
from .local import Served

KEPT = 16  # saved states, about 10 to 25 MB each
ROOM = 1_000_000_000  # bytes; where fewer are free, no state is saved
WORTH = 300  # characters of a prompt: restoring a state takes about as long as reading these


class Slots:
    """What the slots of one server hold, which of them are free, and which states are saved.

    A caller may be cancelled at any await. Its slot is then free again and counts as empty, and no file is lost.
    """

    def __init__(self, count: int) -> None:
        self.held = dict.fromkeys(range(count), "")  # the text each slot has read; "" where that is not certain
        self.free = set(self.held)
        self.saved: dict[str, int] = {}  # the files of saved states, by the text read; the last used last
        self.unused = list(range(KEPT))  # files that hold no saved state; the last one is taken first
        self.reading: dict[str, asyncio.Event] = {}  # the new heads that are being read just now
        self.written, self.busy = 0, 0.0  # tokens of replies; seconds in which a slot was in use
        self._busy_since = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Semaphore(count)

    @asynccontextmanager
    async def best_for(self, text: str) -> AsyncIterator[int]:
        """A slot for one request: the free one that holds the most of `text`."""
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._start(loop)
        async with self._turns:
            slot = max(self.free, key=lambda each: shared(text, self.held[each]))
            if len(self.free) == len(self.held):
                self._busy_since = time.monotonic()
            self.free.remove(slot)
            try:
                yield slot
            finally:
                self.free.add(slot)
                if len(self.free) == len(self.held):
                    self.busy += time.monotonic() - self._busy_since

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Marks all slots as free, because an event loop that has ended uses none."""
        self._loop = loop
        self._turns = asyncio.Semaphore(len(self.held))
        self.reading = {}
        self.held.update(dict.fromkeys(set(self.held) - self.free, ""))
        self.free = set(self.held)
        self.unused = [file for file in range(KEPT) if file not in self.saved.values()]


class Slotted(Endpoint):
    """The embedded server's model; with an adapter the tuned one, unless `tuned` is False.

    To use both from one server, give the second one the `slots` of the first.
    """

    def __init__(self, served: Served, tuned: bool = True, slots: Slots | None = None) -> None:
        tuned = tuned and bool(served.adapter)
        digest = f"{served.digest}+{served.adapter}" if tuned else served.digest
        super().__init__(served.url, served.name, key=served.key, digest=digest)
        self.source = served.source
        self.slots = slots or Slots(served.slots)
        self._states, self._heads = served.states, served.heads
        # The state of a prompt that was read with the adapter can't be used without it.
        self._which = f"{digest}\n"
        self._lora = {"lora": [{"id": 0, "scale": float(tuned)}]} if served.adapter else {}
        self._server = served.url.removesuffix("/v1")

    async def _send(self, body: dict[str, Any], once: bool = False, hear: Hear | None = None) -> Any:
        head, text = (self._which + _text(messages) for messages in (body["messages"][:-1], body["messages"]))
        async with self._turn(head), self.slots.best_for(text) as slot:
            await self._restore(slot, text)
            await self._restore_head(slot, text, head)
            if self._heads and len(head) >= WORTH and self._heads.comes_again(head):
                await self._keep_head(slot, head, body["messages"][:-1])
            self.slots.held[slot] = ""  # until it has read all of the prompt
            reply = await super()._send({**body, "id_slot": slot, **self._lora}, once, hear)
            self.slots.held[slot] = text
            self.slots.written += completion_of(reply).usage.completion_tokens
            await self._save(slot, text)
            return reply

    @asynccontextmanager
    async def _turn(self, head: str) -> AsyncIterator[None]:
        """Lets one request at a time read a head that is new. Those who wait then take over what it has read."""
        reading = self.slots.reading
        while len(head) >= WORTH and not self._is_read(head):
            if not (read := reading.get(head)):
                reading[head] = read = asyncio.Event()
                try:
                    yield
                finally:
                    del reading[head]
                    read.set()
                return
            await read.wait()
        yield

    def _is_read(self, head: str) -> bool:
        texts = (*self.slots.held.values(), *self.slots.saved)
        return any(text.startswith(head) for text in texts) or bool(self._heads and self._heads.has(head))

    async def _restore(self, slot: int, text: str) -> None:
        """Restores the saved state that holds the most of `text` into the slot, if that saves time."""
        held, saved = self.slots.held, self.slots.saved
        best = max(saved, key=lambda each: shared(text, each), default="")
        if shared(text, best) < shared(text, held[slot]) + WORTH:
            return
        saved[best] = file = saved.pop(best)
        before, held[slot] = held[slot], ""
        held[slot] = best if await self._act(slot, "restore", f"{file}.state") else before

    async def _restore_head(self, slot: int, text: str, head: str) -> None:
        """Restores the state of the prompt's head from the disk, if that saves time."""
        held = self.slots.held
        if not self._heads or len(head) < shared(text, held[slot]) + WORTH:
            return
        if content := self._heads.state(head):
            before, held[slot] = held[slot], ""
            file, unfinished = f"head-{slot}.state", self._states / "head.part"
            with suppress(OSError):  # no room
                unfinished.write_bytes(content)
                os.replace(unfinished, self._states / file)  # the server may still be reading an earlier one
                if await self._act(slot, "restore", file):
                    held[slot] = head
                else:
                    held[slot] = before
                    self._heads.drop(head)

    async def _keep_head(self, slot: int, head: str, messages: list[dict[str, Any]]) -> None:
        """Keeps the state of the head on disk, for later processes. It is read alone for that, and then not again."""
        if not self._heads or self._heads.has(head):
            return
        alone = [*messages, {"role": "user", "content": ""}]
        self.slots.held[slot] = ""
        with suppress(ModelError, OSError):
            await super()._send(
                {"model": self.name, "messages": alone, "max_tokens": 0, "id_slot": slot, **self._lora}, once=True
            )
            self.slots.held[slot] = head
            if await self._act(slot, "save", file := f"new-{slot}.state"):
                self._heads.keep(head, (self._states / file).read_bytes())

    async def _save(self, slot: int, text: str) -> None:
        """Saves the slot's state if no saved one holds as much. It replaces the state that was unused for longest."""
        saved, unused = self.slots.saved, self.slots.unused
        if any(shared(text, each) >= len(text) - WORTH for each in saved):
            return
        if not unused and not saved:
            return  # every file is being written just now
        file = unused.pop() if unused else saved.pop(next(iter(saved)))
        done = False
        try:
            done = await self._act(slot, "save", f"{file}.state")
        finally:  # cancelled too
            if done:
                saved[text] = file
            else:
                unused.insert(0, file)  # taken last: the server may still be about to write it

    async def _act(self, slot: int, action: str, file: str) -> bool:
        """Whether the server has done it; if not, the prompt is just read as a whole."""
        if action == "save" and shutil.disk_usage(self._states).free < ROOM:
            return False
        address = f"{self._server}/slots/{slot}?action={action}"
        return await self._http.status("POST", address, {"filename": file}, 60) == 200


def _text(messages: list[dict[str, Any]]) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


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
