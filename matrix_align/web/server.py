"""Runs an ASGI app until the process is told to stop. Owns the HTTP server.

On SIGTERM and Ctrl-C the server takes no new connection and lets what is in flight end: requests, and work beside them.
connection.py limits each connection. Knows no route.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from ..errors import InputError
from .beside import Beside
from .connection import Limited
from .last_word import LastWord

log = logging.getLogger("matrix_align")
IDLE = 75  # seconds for which a connection without a request stays open
BACKLOG = 2048


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


def leads_to(url: str, listener: socket.socket) -> bool:
    """Whether a request to `url` comes to this listener."""
    host, port = listener.getsockname()[:2]
    here = ip_address(host)
    with suppress(OSError, ValueError):  # what is no address leads nowhere
        parts = urlsplit(url)
        if (parts.port or {"http": 80, "https": 443}.get(parts.scheme)) != port:
            return False
        for family, _, _, _, found in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM):
            there = ip_address(found[0])
            if there == here or (there.is_unspecified and here.is_loopback):
                return True
            if here.is_unspecified and _is_ours(family, found):
                return True
    return False


def _is_ours(family: socket.AddressFamily, found: tuple[Any, ...]) -> bool:
    """Whether it is an address of this machine: no other can be bound to."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((found[0], 0, *found[2:]))
        except OSError:
            return False
    return True


def server_of(app: ASGIApp, drain: int, beside: Beside | None = None) -> uvicorn.Server:
    """A server for `app`, to be started with `serve(sockets=[…])`. It ends on SIGTERM, Ctrl-C or `should_exit`.

    Requests in flight and the app's tasks `beside` them then have `drain` seconds to end. What still runs is cancelled,
    and clients are told.
    """
    config = uvicorn.Config(
        LastWord(app),
        http=Limited,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nothing here asks for a client's address
        server_header=False,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=drain,
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
        if under_way and not self.force_exit:
            seconds = self.config.timeout_graceful_shutdown
            log.info("%d under way, with %s s to end; Ctrl-C again ends them at once", len(under_way), seconds)
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
