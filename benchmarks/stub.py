"""A server that answers every chat completion at once, in a process of its own.

So little is done a request that what is measured is the client. Not HTTP in general: it reads Content-Length, no more.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# The text that a chat of this body is answered with; a function of a module, since it is called in another process.
Answer = Callable[[dict[str, Any]], str]


class _Answers(asyncio.Protocol):
    def __init__(self, answer: Answer, kept: Path | None) -> None:
        self._answer = answer
        self._kept = open(kept, "ab", buffering=0) if kept else None  # noqa: SIM115 - closed with the connection
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, fault: Exception | None) -> None:
        if self._kept:
            self._kept.close()

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower()
            length = head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0] if b"content-length:" in head else b"0"
            if len(self._read) < (whole := end + 4 + int(length)):
                return
            body, self._read = self._read[end + 4 : whole], self._read[whole:]
            if self._kept and body:
                self._kept.write(body + b"\n")
            self._transport.write(self._response(json.loads(body) if body else {}))

    def _response(self, asked: dict[str, Any]) -> bytes:
        length = sum(len(turn["content"]) for turn in asked.get("messages", []))
        usage = {"prompt_tokens": length // 4, "completion_tokens": 10}
        message = {"role": "assistant", "content": self._answer(asked) if asked else ""}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = json.dumps({"data": [{"id": "stub"}], "choices": [choice], "usage": usage}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


def _serve(answer: Answer, kept: Path | None, ready: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Answers(answer, kept), "127.0.0.1", 0)
        ready.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def stub(answer: Answer, kept: Path | None = None) -> Iterator[str]:
    """The URL of a stub that says what `answer` gives, until the block ends.

    With `kept`, a file that receives every request's body, one a line.
    """
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(answer, kept, its), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
