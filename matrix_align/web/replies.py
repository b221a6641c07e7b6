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
from starlette.types import Receive, Scope, Send

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


def header(scope: Scope, name: bytes) -> bytes:
    """The header `name`, which is in lower case; empty if it was not sent."""
    for key, value in scope["headers"]:
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


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """A block that is cancelled once the client hangs up. It then raises Gone. The body must have been read."""
    here = asyncio.current_task()
    assert here
    left = False
    watcher: asyncio.Task[None] | None = None

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        here.cancel()

    def begin() -> None:
        nonlocal watcher
        watcher = asyncio.create_task(watch())

    soon = asyncio.get_running_loop().call_later(UNWATCHED, begin)
    try:
        yield
    except asyncio.CancelledError:
        if left and not here.uncancel():
            raise Gone from None
        raise
    finally:
        soon.cancel()
        if watcher:
            watcher.cancel()
