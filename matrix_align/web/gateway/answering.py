"""A method's answer as a chat completion: whole, or in pieces while it is made.

The answer is made in the same way in both cases, so its record is the same. Owns the form of the chunks. Knows no other
request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import nullcontext
from typing import Any

from pydantic_core import to_json
from starlette.types import Send

from ...errors import MatrixAlignError
from ...llm.writing import Aloud, Writing
from ...types import Answer, Usage
from ..replies import Refusal, in_a_header, send_json, start
from .asked import Asked
from .failures import refusal_of
from .gateway import Gateway
from .narration import narrated

KEEP_ALIVE = 10.0  # seconds in which nothing was sent, after which a comment shows proxies that the stream lives
ALIVE = b": keep-alive\n\n"
STREAM = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
FINISH = {"": "stop", "length": "length", "filter": "content_filter"}


class Answering:
    """One answer that is being made, in its place. `answer` is what there is of it so far.

    It waits for its turn if it has none.
    """

    def __init__(self, gateway: Gateway, asked: Asked, beside: Mapping[str, str], has_turn: bool = False) -> None:
        self.asked = asked
        self.answer: Answer | None = None
        self.id = asked.setup.id(asked.question, gateway.recorded)
        self._gateway = gateway
        self._has_turn = has_turn
        self._headers = {"X-Matrix-Align-Scene": self.id, "X-Matrix-Align-Stage": f"/scenes/{self.id}", **beside}
        if asked.ignored:
            self._headers["X-Matrix-Align-Ignored"] = in_a_header(asked.ignored)
        self._began = time.monotonic()
        self._news = asyncio.Event()
        self._writing = Writing(self._news)

    async def send(self, send: Send) -> None:
        """Makes the answer and sends it. Raises Refusal if that fails before anything was sent."""
        if self.asked.stream:
            await self._stream(send)
            return
        try:
            await self._make()
        except MatrixAlignError as error:
            raise refusal_of(error) from error
        message = {"role": "assistant", "content": self._text(whole=True)}
        if self.asked.reasoning and (reasoning := self._reasoning()):
            message["reasoning_content"] = reasoning
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish()}
        whole = self._object("chat.completion") | {"choices": [choice], "usage": self._usage()}
        figures = {f"X-Matrix-Align-{name.title()}": str(value) for name, value in self._figures().items()}
        await send_json(send, 200, whole, self._headers | figures)

    async def _make(self) -> None:
        """Makes the answer. The record has each state of it, so that the stage can show it meanwhile."""
        gateway, asked = self._gateway, self.asked
        writer = gateway.recorded.through(Aloud(gateway.upstream, self._writing)) if asked.stream else None
        async with nullcontext() if self._has_turn else gateway.turn():
            async for answer in asked.setup.answer(asked.question, gateway.recorded, writer):
                self.answer = answer
                if answer.calls:
                    gateway.store.save(answer)
                self._news.set()

    async def _stream(self, send: Send) -> None:
        await start(send, 200, STREAM | self._headers)
        making = asyncio.create_task(self._make())
        making.add_done_callback(lambda _: self._news.set())
        try:
            async for event in self._events(making):
                await send({"type": "http.response.body", "body": event, "more_body": True})
        finally:
            making.cancel()
            await asyncio.wait([making])
            if not making.cancelled():
                making.exception()  # the record has it; asyncio complains of one that nobody has looked at
        await send({"type": "http.response.body", "body": b""})

    async def _events(self, making: asyncio.Task[None]) -> AsyncIterator[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})
        narrated, written, done = "", "", False
        loop = asyncio.get_running_loop()
        sent = loop.time()
        while not done:
            try:
                async with asyncio.timeout_at(sent + KEEP_ALIVE):
                    await self._news.wait()
            except TimeoutError:
                yield ALIVE
                sent = loop.time()
                continue
            self._news.clear()
            done = making.done()
            if self.asked.reasoning and (reasoning := self._reasoning()) != narrated:
                yield self._chunk({"reasoning_content": reasoning[len(narrated) :]})
                narrated, sent = reasoning, loop.time()
            if done and (error := making.exception()):
                if not isinstance(error, MatrixAlignError):
                    raise error
                yield event(refusal_of(error).body)
                return
            text = self._text(whole=done)
            if not text.startswith(written):
                yield event(_changed(self.id).body)
                return
            if text != written:
                yield self._chunk({"content": text[len(written) :]})
                written, sent = text, loop.time()
        yield event(
            self._object("chat.completion.chunk")
            | {"choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": self._finish()}]}
            | {"matrix_align": self._figures()}
        )
        if self.asked.usage:
            yield event(self._object("chat.completion.chunk") | {"choices": [], "usage": self._usage()})
        yield b"data: [DONE]\n\n"

    def _text(self, whole: bool) -> str:
        """The answer's text up to the first of the stops: all of it, or what is certain of it so far."""
        text = self._writing.text
        if whole:
            assert self.answer and self.answer.text is not None, "the last draft of a method is complete"
            text = self.answer.text
        return until(text, self.asked.stops, whole)

    def _reasoning(self) -> str:
        return narrated(self.answer) if self.answer else ""

    def _finish(self) -> str:
        """Why the text that was sent ends: one of the stops may come before the end of what the model wrote."""
        assert self.answer, "the last draft of a method is complete"
        return "stop" if self._text(whole=True) != self.answer.text else FINISH[self.answer.text_cut]

    def _figures(self) -> dict[str, Any]:
        """What the answer cost, for headers or the last chunk."""
        usage = self._spent()
        return {
            "calls": len(self.answer.calls) if self.answer else 0,
            "tokens": usage.prompt_tokens + usage.completion_tokens,
            "seconds": round(time.monotonic() - self._began, 3),
        }

    def _spent(self) -> Usage:
        return self.answer.usage if self.answer else Usage()

    def _usage(self) -> dict[str, Any]:
        """All calls of the answer together, in OpenAI's form."""
        usage = self._spent()
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        }

    def _object(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.id}",
            "object": kind,
            "created": int(time.time()),
            "model": self.asked.setup.method.name,
        }

    def _chunk(self, delta: Mapping[str, str]) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return event(self._object("chat.completion.chunk") | {"choices": [choice]})


def until(text: str, stops: tuple[str, ...], whole: bool) -> str:
    """`text` up to the first of `stops`. Unless it is whole, an end that a stop may begin with is left out too."""
    ends = [place for stop in stops if (place := text.find(stop)) >= 0]
    if ends:
        return text[: min(ends)]
    if not whole:
        longest = max((len(stop) for stop in stops), default=0)
        for start in range(max(0, len(text) - longest), len(text)):
            if any(stop.startswith(text[start:]) for stop in stops):
                return text[:start]
    return text


def _changed(id: str) -> Refusal:
    return Refusal(
        502,
        "the model had to write its answer again, so what was sent so far is no part of it; "
        f"ask again for the answer, which is in the record now (/scenes/{id})",
        "answer_changed",
    )


def event(content: Mapping[str, Any]) -> bytes:
    return b"data: " + to_json(content) + b"\n\n"
