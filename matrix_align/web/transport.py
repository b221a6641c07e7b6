"""What goes out to one client: in as few pieces as can be, and only for as long as the client reads. Knows no HTTP."""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import Any

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ

READ_SECONDS = 60.0  # in which a client that is sent something reads some of it
SEND_SECONDS = 10.0  # for what a client still sends of a request whose answer is the connection's last


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
        self._ending: asyncio.TimerHandle | None = None
        self.client_sends = False  # a part of its request is still to come

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

    def is_closing(self) -> bool:
        return self._ending is not None or self._transport.is_closing()

    def close(self) -> None:
        """Closes once all is sent. If the client still sends, only its next end of input closes, or a second call.

        The system resets a connection that is closed before all that came was read. The answer is then lost.
        """
        self.flush()
        if self.client_sends and not self.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()  # what comes is thrown away
            self._ending = self._loop.call_later(SEND_SECONDS, self._transport.abort)
        else:
            self._transport.close()
        if self._transport.get_write_buffer_size():
            self.watch()

    def watch(self) -> None:
        """From now on the client has to read, until nothing is left to send."""
        if self._look is None:
            self._look = self._loop.call_later(READ_SECONDS, self._give_up_unless_read, self._read())

    def forget(self) -> None:
        """The connection is lost."""
        for timer in (self._look, self._ending):
            if timer is not None:
                timer.cancel()

    def _read(self) -> int:
        """How many bytes the client's system has taken; where ours does not tell, how many ours has."""
        return self._given - self._transport.get_write_buffer_size() - _held(self._transport)

    def _give_up_unless_read(self, before: int) -> None:
        self._look = None
        if self._read() == before:
            self._transport.abort()
        elif self._transport.get_write_buffer_size():
            self.watch()


def _held(transport: asyncio.Transport) -> int:
    """How many bytes the system has not delivered yet. It takes more only once about a third of them are."""
    connection = transport.get_extra_info("socket")
    if sys.platform != "linux" or connection.fileno() < 0:
        return 0
    return int(struct.unpack("i", ioctl(connection.fileno(), TIOCOUTQ, bytes(4)))[0])
