"""Keeps a stream alive while it is not known yet who answers: `simulate: auto` waits for a turn and for one call.

At first nothing is sent, so that the answer can have its own status and headers. After a silence the stream is opened,
and comments keep it alive. What begins after that comes without its head: a stream as it is, anything else as events.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.types import Message, Send

from ...llm.lenient import parsed
from ..figures import Account
from ..replies import Refusal, send_refusal, start
from .answering import ALIVE, KEEP_ALIVE, STREAM
from .passing import BrokenOff

LARGEST = 2**20  # bytes of an answer that is no stream


@asynccontextmanager
async def kept_open(send: Send, headers: Mapping[str, str], account: Account) -> AsyncIterator[Send]:
    """A `send` for one answer, within the block. `headers` are those of a stream that is opened before the answer."""
    opening = _Opening(send, headers)
    keeping = asyncio.create_task(opening.keep())
    try:
        yield opening.send
    except (Refusal, BrokenOff) as failure:
        opening.begun.set()
        await keeping
        if not opening.opened:
            raise
        refusal = failure if isinstance(failure, Refusal) else failure.refusal
        account.status = refusal.status
        await send_refusal(opening.send, refusal)
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


class _Opening:
    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self.opened = False  # by `keep`
        self.begun = asyncio.Event()  # the answer itself has
        self._send = send
        self._headers = headers
        self._one_at_a_time = asyncio.Lock()
        self._no_stream: bytes | None = None  # the body, so far, of an answer that is none

    async def keep(self) -> None:
        while not self.begun.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(KEEP_ALIVE):
                    await self.begun.wait()
                    return
            async with self._one_at_a_time:
                if self.begun.is_set():
                    return
                if not self.opened:
                    self.opened = True
                    await start(self._send, 200, {**STREAM, **self._headers})
                await self._send({"type": "http.response.body", "body": ALIVE, "more_body": True})

    async def send(self, message: Message) -> None:
        async with self._one_at_a_time:
            self.begun.set()
            if not self.opened:
                await self._send(message)
            elif message["type"] == "http.response.start":
                kind = dict(message["headers"]).get(b"content-type", b"")
                self._no_stream = None if kind.startswith(b"text/event-stream") else b""
            elif self._no_stream is None:
                await self._send(message)
            else:
                self._no_stream += message.get("body", b"")
                if len(self._no_stream) > LARGEST:
                    raise Refusal(502, f"the model's server sent no stream, and more than {LARGEST >> 20} MiB")
                if not message.get("more_body"):
                    await self._send({"type": "http.response.body", "body": _events(self._no_stream)})


def _events(body: bytes) -> bytes:
    """What is no stream, as the events of one: a whole completion, an error, or an error about what is neither."""
    with suppress(ValueError, RecursionError):
        found = parsed(body)
        if isinstance(found, dict) and "error" in found:
            return _event(found)
        if isinstance(found, dict) and (chunk := _chunk(found)):
            return _event(chunk) + b"data: [DONE]\n\n"
    return _event(Refusal(502, "the model's server sent neither a stream nor an error that can be read").body)


def _chunk(completion: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A whole completion, which servers send that can't stream, as a chunk that holds all of it; None if it is none.

    It has no calls of tools, since a request with tools does not come here.
    """
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices:
        return None
    if not all(isinstance(choice, dict) and isinstance(choice.get("message"), dict) for choice in choices):
        return None
    as_delta = [{"delta" if name == "message" else name: value for name, value in each.items()} for each in choices]
    return {**completion, "object": "chat.completion.chunk", "choices": as_delta}


def _event(content: Mapping[str, Any]) -> bytes:
    """As the server may have sent it: with halves of surrogate pairs."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"
