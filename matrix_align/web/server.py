"""Runs an ASGI app until the process is told to stop. Owns the HTTP server and its time-outs.

Uvicorn waits for ever for a request's head, and takes heads of any length; `_Patient` does neither. On SIGTERM and
Ctrl-C the server takes no new connection and lets what is in flight end: requests, and work beside them. Knows no
route.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import InputError
from .beside import Beside

HEAD_SECONDS = 10.0  # for a request's head, from its first byte, or from the connection
HEAD_BYTES = 64 * 1024
IDLE = 75  # seconds for which a connection without a request stays open
BACKLOG = 2048


class _Patient(HttpToolsProtocol):
    """Closes a connection whose next request has begun and does not get to the end of its head."""

    _head: asyncio.TimerHandle | None = None
    _read = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._head is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()
        if self._head is not None:
            self._read += len(data)
        super().data_received(data)
        if self._head is not None and self._read > HEAD_BYTES:
            self.send_400_response("The request's head is too large.")
            self._no_head()

    def on_headers_complete(self) -> None:
        self._no_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_head()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._read = 0
        self._head = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _no_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        if not self.transport.is_closing():
            self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Port 0 takes a free one. Raises InputError if it can't be had."""
    # asyncio sends small pieces at once only over a socket that names its protocol. Otherwise each waits 40 ms.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # there it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"can't listen on {host}, port {port}: {why}; choose another --host or --port") from None
    return listener


def server_of(app: ASGIApp, drain: float, beside: Beside | None = None) -> uvicorn.Server:
    """A server for `app`, to be started with `serve(sockets=[…])`. It ends on SIGTERM, Ctrl-C or `should_exit`.

    Requests in flight and the app's tasks `beside` them then have `drain` seconds to end. What still runs is cancelled.
    """
    config = uvicorn.Config(
        app,
        http=_Patient,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=int(drain),
    )
    return _Server(config, beside or Beside())


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, beside: Beside) -> None:
        super().__init__(config)
        self._beside = beside

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Treats the tasks beside requests as uvicorn treats requests. Returns once they have ended, in any way."""
        self._beside.ends.set()
        tasks, under_way = set(self._beside.tasks), self.server_state.tasks
        for task in tasks:
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await super().shutdown(sockets)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn's own raises the signal again once it is done, and so ends the process before it can clean up."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
