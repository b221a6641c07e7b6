"""Reads the bodies of requests, with a limit for each on size and time, and one for all of a kind. Knows no route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass

from starlette.types import Receive, Scope

from .connection import is_whole
from .replies import Gone, Refusal, header


@dataclass
class Room:
    """How many bytes the bodies of one kind may still take, all together."""

    free: int


ROOM = Room(256 * 2**20)


@asynccontextmanager
async def body_of(
    scope: Scope, receive: Receive, limit: int, seconds: float, room: Room = ROOM
) -> AsyncIterator[bytes]:
    """The whole body, in a block in which it takes `room`.

    Raises Gone, and Refusal if it has more than `limit` bytes, takes longer than `seconds`, or if other bodies have
    left no room for it. The server throws away what still comes of a body that is refused.
    """
    length = header(scope, b"content-length")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        try:
            async with nullcontext() if is_whole(scope) else asyncio.timeout(seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    parts.append(message.get("body", b""))
                    more = message.get("more_body", False)
                    size += len(parts[-1])
                    room.free -= len(parts[-1])
                    if size > limit:
                        raise _too_large(limit)
                    if room.free < 0:
                        raise Refusal(429, "too many large requests; try again soon", headers={"Retry-After": "1"})
        except TimeoutError:
            close = {"Connection": "close"}
            raise Refusal(408, f"the body did not arrive within {seconds:g} s", headers=close) from None
        parts[:] = [b"".join(parts)]
        yield parts[0]
    finally:
        room.free += size


def _too_large(limit: int) -> Refusal:
    most = f"{limit >> 20} MiB" if limit >> 20 else f"{limit >> 10} KiB"
    return Refusal(413, f"the body is larger than {most}")
