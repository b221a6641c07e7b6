"""What goes out to one client: in as few pieces as can be, and only for as long as the client reads. Knows no HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

READ_SECONDS = 60.0  # in which a client that is sent something reads some of it


class Outgoing:
    """A transport that joins what is written in one turn of the loop, and gives up a client that reads nothing.

    Uvicorn writes the head of an answer and its body one after the other. Each write costs a system call, and as much
    again at the client. What is not named here is the transport's own: `abort` throws away what was written too, and
    uvicorn uses none of its other ways to write.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._joined: list[bytes] = []
        self._given = 0  # bytes that the transport has got
        self._look: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._joined:
            self._loop.call_soon(self.flush)
        self._joined.append(data)

    def flush(self) -> None:
        """Gives the transport what was written."""
        if self._joined:
            data = b"".join(self._joined)
            self._joined.clear()
            self._given += len(data)
            self._transport.write(data)

    def close(self) -> None:
        """Closes once all is sent."""
        self.flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self.watch()

    def watch(self) -> None:
        """From now on the client has to read, until nothing is left to send."""
        if self._look is None:
            self._look = self._loop.call_later(READ_SECONDS, self._give_up_unless_read, self._read())

    def forget(self) -> None:
        """The connection is lost."""
        if self._look is not None:
            self._look.cancel()

    def _read(self) -> int:
        """How many bytes the system has taken for the client. It takes more only as the client reads."""
        return self._given - self._transport.get_write_buffer_size()

    def _give_up_unless_read(self, before: int) -> None:
        self._look = None
        if self._read() == before:
            self._transport.abort()
        elif self._transport.get_write_buffer_size():
            self.watch()
