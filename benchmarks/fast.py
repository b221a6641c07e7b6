"""A fake endpoint in a process of its own: it answers every typed request with what lets a scene go on.

It does as little a request as it can, so that the client is what is measured. `log` names each request as it is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from tests.fake import fill

USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}


def name(messages: Any, seed: int) -> str:
    """A request's name: its prompt and seed, hashed."""
    return hashlib.sha256(json.dumps([messages, seed], sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=4096)
def _reply(schema: str) -> str:
    return json.dumps(fill(found := json.loads(schema), found, "that is said plainly"))


def _said(body: dict[str, Any]) -> str:
    shape = body.get("response_format")
    return _reply(json.dumps(shape["json_schema"]["schema"])) if shape else f"It depends on {body['seed']}."


class _Answers(asyncio.Protocol):
    def __init__(self, latency: float, log: IO[str] | None) -> None:
        self._latency, self._log = latency, log
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
            body = json.loads(self._read[end + 4 : whole])
            self._read = self._read[whole:]
            if self._log:
                self._log.write(name(body["messages"], body["seed"]) + "\n")
                self._log.flush()
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._answer, body)
            else:
                self._answer(body)

    def _answer(self, body: dict[str, Any]) -> None:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": _said(body)}}
        content = json.dumps({"choices": [choice], "usage": USAGE}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self._transport.write(head.encode() + content)


def _serve(latency: float, log: Path | None, ready: Connection) -> None:
    file = open(log, "a") if log else None  # noqa: SIM115 (until the process is killed)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(
            lambda: _Answers(latency, file), "127.0.0.1", 0, backlog=2000
        )
        ready.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def fast_server(latency: float, log: Path | None = None) -> Iterator[str]:
    """The URL of a server that answers after `latency` seconds, until the block ends."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(latency, log, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.kill()
