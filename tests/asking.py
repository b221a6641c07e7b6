"""Shared by the tests of an endpoint: two questions, servers that send what a test wants, and waits without delay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from aiohttp import web
from pydantic import Field

from matrix_align.errors import ModelError
from matrix_align.llm.endpoint import Endpoint
from matrix_align.llm.model import Model
from matrix_align.llm.structured import FromModel, Line
from matrix_align.types import Message, Sampling

Ask = Callable[[Model], Awaitable[Any]]
KEY = "sk-not-a-real-key-2718281828"
SAMPLING = Sampling(temperature=0.7, max_tokens=64, seed=3)
ASKED = [Message(role="user", content="Which colour?")]
SAID_BLUE = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "Blue."}}]}
PICK = {"colour": "blue", "why": "It is calm.", "steps": ["Buy it.", "Paint."]}


class Pick(FromModel):
    colour: Literal["red", "blue"]
    why: Line
    steps: tuple[Line, ...] = Field(min_length=1, max_length=2)


async def say(model: Model) -> str:
    return (await model.ask(ASKED, str, SAMPLING)).value


async def pick(model: Model) -> Pick:
    return (await model.ask(ASKED, Pick, SAMPLING)).value


async def fault(kind: type[ModelError], url: str, ask: Ask = say, name: str = "m", **options: Any) -> ModelError:
    """The error raised when the server at `url` is asked. It must be of exactly this class."""
    async with Endpoint(url, name, **{"attempts": 1, "read": 30, "digest": "", **options}) as model:
        with pytest.raises(kind) as caught:
            await ask(model)
    assert type(caught.value) is kind
    return caught.value


def turns(*said: Any) -> Callable[[dict[str, Any]], Any]:
    """One reply after the other."""
    left = iter(said)
    return lambda _: next(left)


def sent(status: int, text: str, **headers: str) -> Callable[[web.Request], web.Response]:
    return lambda _: web.Response(status=status, text=text, headers=headers)


class Waits(list[float]):
    """Replaces asyncio in the endpoint's module. It records how long the code would have slept, and does not sleep."""

    async def sleep(self, seconds: float) -> None:
        self.append(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


def http(body: str, status: str = "200 OK", header: str = "X-Nothing: 0") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{header}\r\n\r\n"
    return (head + body).encode("latin-1")


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that answers everything with these bytes, which no well-behaved server would send. Yields its URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if "content-length: " in head:
            await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}/v1"


@asynccontextmanager
async def recording(*bodies: str) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that answers with these bodies in turn. Yields its URL, and the first lines of the requests."""
    lines: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if "content-length: " in head.lower():
            await reader.readexactly(int(head.lower().split("content-length: ")[1].split("\r\n")[0]))
        writer.write(http(bodies[len(lines) % len(bodies)]))
        lines.append(head.split("\r\n")[0])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}/v1", lines
