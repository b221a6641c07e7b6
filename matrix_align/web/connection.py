"""One connection of a client's, with the limits that uvicorn does not have.

Uvicorn waits for ever for a request's head. It takes heads of any length, and chunks with notes and trailers of any. It
waits for ever for a client that reads nothing. It stops reading once a second request has come before the first was
answered, and then sees no hang-up. It sends an answer's head alone.
Knows no route.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_core import to_json
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .replies import Refusal

HEAD_SECONDS = 10.0  # for a request's head, from its first byte, or from the connection
HEAD_BYTES = 64 * 1024  # that come in a row and are no part of a body: a head, or what is around chunks
READ_SECONDS = 60.0  # in which a client takes what was written (64 KiB, and what the system holds)
WHOLE = "matrix_align.whole"  # the extension in the scope of a request that has come whole


def is_whole(scope: Scope) -> bool:
    """Whether nothing of the request is still to come. Most come in one piece, and then need no clock."""
    return WHOLE in scope.get("extensions", ())


class Joined:
    """A transport that sends what is written in one turn of the loop in one piece.

    Uvicorn writes the head of an answer and its body one after the other. Each write costs a system call, and as much
    again at the client.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._written:
            self._transport.write(b"".join(self._written))
            self._written.clear()


class _Early(Exception):
    """A request has begun before the one before it was answered."""


class Limited(HttpToolsProtocol):
    """Closes a connection whose head is slow, whose head or trailer is too long, whose client reads nothing, or that
    sends requests ahead.

    Requests ahead (pipelining) are not served: what comes before the answer is complete is thrown away, and the
    connection is closed after it. Clients then ask again, as HTTP wants it.
    """

    _head: asyncio.TimerHandle | None = None  # runs until the next head is complete
    _reading: asyncio.TimerHandle | None = None  # runs while the client has to read
    _in_body = False  # from the end of a head to that of its request
    _moved = False  # the latest bytes have brought a piece of a body, or the end of a request
    _length = 0  # bytes since then
    _ahead = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Joined(transport, self.loop))  # type: ignore[arg-type]
        self._head = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head()
        self._stop_reading()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes no more at once than may come without a piece of a body. Python reads 256 KiB at once."""
        while len(data) > (room := HEAD_BYTES + 1 - self._length):
            self._take(data[:room])
            data = data[room:]
            if self.transport.is_closing():
                return
        self._take(data)

    def _take(self, data: bytes) -> None:
        if self._ahead:
            return
        self._moved = False
        super().data_received(data)
        if self._head is None and not (self._in_body or self._running() or self.transport.is_closing()):
            self._head = self.loop.call_later(HEAD_SECONDS, self._give_up)
        self._length = 0 if self._moved else self._length + len(data)
        if self._length <= HEAD_BYTES or self._ahead or self.transport.is_closing():
            return
        if self._in_body:  # its request is being answered, or was
            self._give_up()
        else:
            self.send_400_response("the request's head is too large")

    def on_message_begin(self) -> None:
        if self._running():
            raise _Early
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._stop_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body, self._moved = False, True
        self.scope["extensions"] = {WHOLE: {}}
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():  # it closes once all is sent
            self._await_reader()

    def send_400_response(self, msg: str) -> None:
        """What can't be read gets an error, unless it comes in the middle of an answer."""
        if self._running():
            self._ahead = True
            self.cycle.keep_alive = False
            return
        body = to_json(Refusal(400, msg).body)
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        self.transport.close()
        self._stop_head()
        self._await_reader()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        if not self.transport.is_closing():
            self._stop_reading()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        self._give_up()

    def _running(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _await_reader(self) -> None:
        if self._reading is None:
            self._reading = self.loop.call_later(READ_SECONDS, self._give_up)

    def _stop_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _give_up(self) -> None:
        """Closes the connection, and throws away what the client has not read."""
        self._head = self._reading = None
        self.transport.abort()
