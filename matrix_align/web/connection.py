"""One connection of a client's, with the limits that uvicorn does not have.

Uvicorn waits for ever for a request's head. It takes heads of any length, and chunks with notes and trailers of any. It
stops reading once a second request has come before the first was answered, and then sees no hang-up. It reads the body
of a request that asks for another protocol as the next request. transport.py limits what goes out. Knows no route.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import httptools
from pydantic_core import to_json
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .replies import Refusal
from .transport import Outgoing

HEAD_SECONDS = 10.0  # for a request's head, from its first byte, or from the connection
HEAD_BYTES = 64 * 1024  # that come in a row and are no part of a body: a head, or what is around chunks
WHOLE = "matrix_align.whole"  # the extension in the scope of a request that has come whole


def is_whole(scope: Scope) -> bool:
    """Whether nothing of the request is still to come. Most come in one piece, and then need no clock."""
    return WHOLE in scope.get("extensions", ())


class _Early(Exception):
    """A request has begun before the one before it was answered."""


class Limited(HttpToolsProtocol):
    """Closes a connection whose head is slow, whose head or trailer is too long, whose client reads nothing, or that
    sends requests ahead.

    Requests ahead (pipelining) are not served: what comes before the answer is complete is thrown away, and the
    connection is closed after it. Clients then ask again, as HTTP wants it. What comes of a request after its answer is
    thrown away too, for as long as a head may take.
    """

    transport: Outgoing  # type: ignore[assignment]
    _comes: Literal["a head", "a body", "nothing of use"] = "a head"
    _no_body = 0  # bytes that have come since the last piece of a body
    _due: asyncio.TimerHandle | None = None  # runs until the next head is complete
    _wanted = (b"", "")  # method and version of a request that asks for another protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Outgoing(transport, self.loop))  # type: ignore[arg-type]
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_awaiting()
        self._unset_keepalive_if_required()  # uvicorn's own does so only if the client has not reset the connection
        self.transport.forget()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """The client sends no more. asyncio would close its transport past ours."""
        self.transport.client_sends = False
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Takes no more at once than may come without a piece of a body. Python reads 256 KiB at once."""
        self._unset_keepalive_if_required()
        while data and self._listens():
            room = HEAD_BYTES + 1 - self._no_body
            self._no_body += len(data[:room])
            self._parse(data[:room])
            data = data[room:]
            if self._no_body > HEAD_BYTES and self._listens():
                what = "head" if self._comes == "a head" else "body"
                self._refuse(f"the request's {what} is too large")
        if self._due is None and not self._answering() and not self.transport.is_closing():
            self._await_head()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as found:
            self._parse_as_http(data[found.args[0] :])
        except httptools.HttpParserError:
            self._refuse("the request is not HTTP/1.1")

    def _parse_as_http(self, body: bytes) -> None:
        """Parses the head anew without the protocol that it asks for, which a server may leave unheard."""
        method, version = self._wanted
        if method == b"CONNECT":
            self._refuse("this is no proxy")
            return
        lines = [b" ".join((method, self.url, b"HTTP/" + version.encode()))]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join([*lines, b"", body]))

    def on_message_begin(self) -> None:
        if self._answering():
            raise _Early
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field behind the body is no header. Nobody here asks for one, and the guard must not read it."""
        if self._comes == "a head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._wanted = self.parser.get_method(), self.parser.get_http_version()
            return  # the parser stops here, and the head is parsed anew
        super().on_headers_complete()
        self._comes, self.transport.client_sends = "a body", True
        self._stop_awaiting()

    def on_body(self, body: bytes) -> None:
        self._no_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._comes, self._no_body, self.transport.client_sends = "a head", 0, False
        self.scope["extensions"] = {WHOLE: {}}
        super().on_message_complete()

    def _refuse(self, why: str) -> None:
        """What can't be read gets an error, unless it comes ahead, or when its answer has begun."""
        in_body, self._comes = self._comes == "a body", "nothing of use"
        if self._answering() and (self.cycle.response_started or not in_body):
            self.cycle.keep_alive = False
            return
        if in_body and not self._answering():
            self._give_up()
            return
        if self._answering():  # nobody needs the rest of the request any more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = to_json(Refusal(400, why).body)
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        self.transport.client_sends = True
        self.transport.close()
        self._stop_awaiting()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.watch()

    def _listens(self) -> bool:
        """Whether what comes is looked at."""
        return self._comes != "nothing of use" and not self.transport.is_closing()

    def _answering(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._due = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_awaiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _give_up(self) -> None:
        self._due = None
        self.transport.client_sends = False
        self.transport.close()
