"""A server that answers every chat completion at once with one typed reply, in a process of its own.

So little is done a request that what is measured is the client. Not HTTP in general: it reads Content-Length, no more.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection


class _Answers(asyncio.Protocol):
    def __init__(self, response: bytes) -> None:
        self._response = response
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower()
            length = head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0] if b"content-length:" in head else b"0"
            if len(self._read) < (whole := end + 4 + int(length)):
                return
            self._read = self._read[whole:]
            self._transport.write(self._response)


def _serve(said: str, ready: Connection) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
    body = json.dumps({"data": [{"id": "stub"}], "choices": [choice], "usage": usage}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Answers(head + body), "127.0.0.1", 0)
        ready.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def stub(said: str) -> Iterator[str]:
    """The URL of a stub that always says `said`, until the block ends."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(said, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.kill()
