"""What the ASGI layers share: headers, JSON replies, refusals in OpenAI's form, a client that leaves.

Knows no route and no model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from pydantic_core import to_json
from starlette.types import Message, Receive, Scope, Send

from ..types import clean

KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

UNWATCHED = 0.05  # seconds for which nobody asks whether the client is still there: asking costs each request time


class Refusal(Exception):
    """A request that is not served, as OpenAI's clients expect it: a status, one line, and a code if there is one."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        message = clean(message)
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.body = {
            "error": {"message": message, "type": kind, "param": clean(param) if param else None, "code": code}
        }


class Gone(Exception):
    """The client has hung up."""


def header(message: Scope | Message, name: bytes) -> bytes:
    """The header `name` of a request or an answer, in lower case; empty if it has none."""
    for key, value in message["headers"]:
        if key == name:
            return bytes(value)
    return b""


def in_a_header(texts: Sequence[str]) -> str:
    """Texts of a request as a header's value: percent-encoded where need be, and no longer than a header should be."""
    return ", ".join(quote(text, " ._-'", errors="replace")[:64] for text in texts[:20])


async def send_json(send: Send, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
    body = to_json(content)
    await start(send, status, {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})})
    await send({"type": "http.response.body", "body": body})


async def start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def send_refusal(send: Send, refusal: Refusal) -> None:
    await send_json(send, refusal.status, refusal.body, refusal.headers)


async def send_last_event(send: Send, refusal: Refusal) -> None:
    """Ends a stream of events with an error. What was sent before may have ended in the middle of an event."""
    event = b"\n\ndata: " + to_json(refusal.body) + b"\n\n"
    await send({"type": "http.response.body", "body": event})


@asynccontextmanager
async def while_connected(receive: Receive, send: Send) -> AsyncIterator[Send]:
    """A block that is cancelled, and then raises Gone, if the client hangs up before its answer is complete.

    The answer goes through the `send` that the block gets. The request's body must have been read.
    """
    watch = _Watch(receive)

    async def watched(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            watch.stop()  # a server reports a disconnect for every client whose answer is complete
        await send(message)

    try:
        yield watched
    except asyncio.CancelledError:
        if watch.hung_up and not watch.task.uncancel():
            raise Gone from None
        raise
    finally:
        watch.stop()


class _Watch:
    """Cancels the task that it was made in once the client hangs up, until it is stopped."""

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task
        self.task = task
        self.hung_up = False
        self._receive = receive
        loop = asyncio.get_running_loop()
        self._under_way: asyncio.TimerHandle | asyncio.Task[None] = loop.call_later(UNWATCHED, self._begin)

    def _begin(self) -> None:
        self._under_way = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.hung_up = True
        self.task.cancel()

    def stop(self) -> None:
        self._under_way.cancel()
