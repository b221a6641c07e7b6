"""A gateway over real HTTP, in front of the fake endpoint, on a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from matrix_align import Endpoint, Store
from matrix_align.web.app import app
from matrix_align.web.beside import Beside
from matrix_align.web.gateway import Gateway, Limits
from matrix_align.web.guard import Access
from matrix_align.web.server import listen, server_of

from .conftest import HANG
from .fake import FakeServer, error

ASKED = {"model": "fake-model", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}


@dataclass
class Served:
    """`url` is what clients get, `gateway` answers them in front of `server`, and its record is at `path`."""

    url: str
    gateway: Gateway
    server: FakeServer
    path: Path

    def afresh(self) -> None:
        """Lets the fake endpoint be as if it had just been started."""
        server = self.server
        server.faults, server.on, server.requests, server.headers = [], {}, [], []
        server.refuses, server.listed, server.latency, server.busiest = (), None, 0.0, 0


@contextmanager
def serving(
    server: FakeServer,
    path: Path,
    limits: Limits | None = None,
    keys: Sequence[str] = (),
    alias: str = "",
    **endpoint: Any,
) -> Iterator[Served]:
    """The gateway in front of `server`, with its record at `path`, until the block ends."""
    listener = listen("127.0.0.1", 0)
    ready, served, ends = threading.Event(), list[Any](), list[Any]()

    async def serve() -> None:
        with Store(path) as store:
            async with Endpoint(server.url, server.name, attempts=2, **endpoint) as upstream:
                gateway = Gateway(upstream, store, limits, alias=alias)
                beside = Beside()
                running = server_of(app(gateway, Access(keys, True, upstream.id), (), beside), 1, beside)
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
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", served[0], server, path)
    finally:
        served[1].should_exit = True
        thread.join(60)
        listener.close()
    assert not thread.is_alive()
    if ends:
        raise ends[0]


async def post(url: str, body: Any, **headers: str) -> tuple[int, bytes, Any]:
    """The status, the body and the headers of a chat completion. `body` is an object, or the bytes to send."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/chat/completions", data=data, headers=headers) as response,
    ):
        return response.status, await response.read(), response.headers


def complaint(body: bytes) -> dict[str, Any]:
    """The error in OpenAI's form: its message is one line."""
    found: dict[str, Any] = json.loads(body)["error"]
    assert found.keys() == {"message", "type", "param", "code"}
    assert found["message"] and "\n" not in found["message"]
    return found


async def hung_up(request: web.Request) -> web.Response:
    """A fault of the fake endpoint: it answers nothing, and returns once the gateway has hung up."""
    while request.transport and not request.transport.is_closing():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.02)
    return error(500, "nobody reads this")


async def until(condition: Any) -> None:
    async with asyncio.timeout(HANG):
        while not condition():  # noqa: ASYNC110 - it becomes true in another thread
            await asyncio.sleep(0.02)
