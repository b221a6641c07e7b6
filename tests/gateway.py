"""A gateway over real HTTP, in front of the fake endpoint, on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix_align import Endpoint, Store
from matrix_align.web.app import app
from matrix_align.web.gateway import Gateway, Limits
from matrix_align.web.guard import Access
from matrix_align.web.server import listen, server_of

from .fake import FakeServer


@dataclass
class Served:
    """`url` is what clients get, `gateway` what answers them."""

    url: str
    gateway: Gateway


@contextmanager
def serving(
    server: FakeServer, path: Path, limits: Limits | None = None, keys: Sequence[str] = (), **endpoint: Any
) -> Iterator[Served]:
    """The gateway in front of `server`, with its record at `path`, until the block ends."""
    listener = listen("127.0.0.1", 0)
    ready, served, ends = threading.Event(), list[Any](), list[Any]()

    async def serve() -> None:
        with Store(path) as store:
            async with Endpoint(server.url, server.name, attempts=2, **endpoint) as upstream:
                gateway = Gateway(upstream, store, limits)
                running = server_of(app(gateway, Access(keys, True, upstream.id)), drain=1)
                served.extend([gateway, running])
                ready.set()
                await running.serve(sockets=[listener])

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            ends.append(error)
        ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait(60)
    if ends:
        raise ends[0]
    try:
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", served[0])
    finally:
        served[1].should_exit = True
        thread.join(60)
        listener.close()
    assert not thread.is_alive()
    if ends:
        raise ends[0]
