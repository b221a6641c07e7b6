"""A fake OpenAI endpoint over real HTTP, on a thread of its own.

It answers every typed request with an object of the asked schema, in which all goes on (everyone observes, everyone
acts, and the answer is to blame for harm), and every plain one with a sentence. A test changes what it must: `on[KIND]`
gives the reply to one kind of request (the schema's name: Situation, Asker, Opening, Stance, Verdict, Reaction, Choice,
Instead, Aftermath, Critique; 'text' for plain ones), `faults` are spent first, one a request.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from aiohttp import web

Fault = Callable[[web.Request], Any]
T = TypeVar("T")


class FakeServer:
    """`requests` are the bodies of all completions asked for, `busiest` the most that were in flight at once."""

    def __init__(self) -> None:
        self.url = ""
        self.name = "fake-model"
        self.key: str | None = None  # wanted from clients
        self.latency = 0.0  # seconds
        self.refuses: tuple[str, ...] = ()  # fields of the request that are answered with 400
        self.faults: list[Fault] = []
        self.on: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self.listed: Any = None  # what it answers when its models are asked for, instead of its name alone
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.busiest = 0
        self._busy = 0
        self._serial = itertools.count(1)

    def kinds(self) -> list[str]:
        """The kinds of all requests, in order."""
        return [kind(body) for body in self.requests]

    def prompts(self, of: str) -> list[str]:
        """The messages' contents in all requests of one kind."""
        return ["\n".join(m["content"] for m in body["messages"]) for body in self.requests if kind(body) == of]

    async def models(self, request: web.Request) -> web.Response:
        if isinstance(self.listed, web.Response):
            return self.listed
        if callable(self.listed):  # writes the response itself
            written: web.Response = self.listed()
            return written
        await asyncio.sleep(self.latency)
        return web.json_response({"data": [{"id": self.name}]} if self.listed is None else self.listed)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self._busy += 1
        self.busiest = max(self.busiest, self._busy)
        try:
            return await self._complete(request, body)
        finally:
            self._busy -= 1

    async def _complete(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return error(401, "wrong key")
        if self.faults:
            outcome = self.faults.pop(0)(request)
            answer = await outcome if asyncio.iscoroutine(outcome) else outcome
            if isinstance(answer, web.StreamResponse):
                return answer
        if refused := next((name for name in self.refuses if name in body), None):
            return error(400, f"{refused} is not supported here")
        await asyncio.sleep(self.latency)
        given = self.on.get(kind(body))
        said = given(body) if given else self.default(body)
        if callable(said):  # writes the response itself
            said = await said(request)
        if isinstance(said, web.StreamResponse):
            return said
        if body.get("stream") and isinstance(said, str):
            return await stream(request, said.split(" "))
        length = sum(len(message["content"]) for message in body["messages"])
        return completion(said, prompt_tokens=100 if length < 4000 else length // 4)

    def default(self, body: dict[str, Any]) -> Any:
        """A reply in which all goes well."""
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        return fill(schema, schema, f"thing {next(self._serial)}") if schema else "It depends. Ask first."


def kind(body: dict[str, Any]) -> str:
    return str(body.get("response_format", {}).get("json_schema", {}).get("name", "text"))


def completion(
    said: Any,
    finish: str | None = "stop",
    prompt_tokens: int = 100,
    choice: dict[str, Any] | None = None,
    **message: Any,
) -> web.Response:
    """A chat completion with the text or object `said`; an object is sent as JSON. `choice` adds to its choice."""
    content = said if isinstance(said, str) else json.dumps(said)
    usage: dict[str, Any] = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": 10,
        "total_tokens": prompt_tokens + 10,
    }
    usage |= {"prompt_tokens_details": {"cached_tokens": 40}}
    whole = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    body = {"id": "chat-1", "object": "chat.completion", "created": 1, "model": "fake-model", "usage": usage}
    return web.json_response(body | {"choices": [whole | (choice or {})]})


async def stream(
    request: web.Request,
    words: Iterable[str] | AsyncIterable[str],
    finish: str | None = "stop",
    usage: bool = True,
    between: str = " ",
) -> web.StreamResponse:
    """A chat completion in pieces, one for each of `words`, with what is `between` them. Ends without [DONE] if it does
    not say how it has finished.
    """

    async def deltas() -> AsyncIterator[dict[str, Any]]:
        yield {"role": "assistant", "content": ""}
        space = ""
        async for word in words if isinstance(words, AsyncIterable) else _each(words):
            yield {"content": space + word}
            space = between

    return await stream_of(request, deltas(), finish, usage)


async def stream_of(
    request: web.Request,
    deltas: Iterable[dict[str, Any]] | AsyncIterable[dict[str, Any]],
    finish: str | None = "stop",
    usage: bool = True,
) -> web.StreamResponse:
    """The same of any deltas."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)

    async def send(choices: list[Any], **more: Any) -> None:
        event = {"object": "chat.completion.chunk", "choices": choices, **more}
        await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")

    async for delta in deltas if isinstance(deltas, AsyncIterable) else _each(deltas):
        await send([{"index": 0, "delta": delta, "finish_reason": None}])
    if finish:
        await send([{"index": 0, "delta": {}, "finish_reason": finish}])
        if usage:
            counts = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}
            await send([], usage=counts)
        await response.write(b"data: [DONE]\n\n")
    return response


async def _each(all_of_them: Iterable[T]) -> AsyncIterator[T]:
    for one in all_of_them:
        yield one


def error(status: int, words: str, **headers: str) -> web.Response:
    return web.json_response({"error": {"message": words}}, status=status, headers=headers)


def fill(node: Any, root: Any, text: str, key: str = "") -> Any:
    """An object of a JSON schema: lists as long as they may be, each enum's items in turn, `text` for texts."""
    if "$ref" in node:
        return fill(root["$defs"][node["$ref"].split("/")[-1]], root, text, key)
    if "const" in node:
        return node["const"]
    if "enum" in node:
        return node["enum"][1 if key in ("harm", "cause") else 0]  # the answer did harm, so it is revised
    if node["type"] == "object":
        return {name: fill(each, root, text, name) for name, each in node["properties"].items()}
    if node["type"] == "array":
        items = node["items"]
        if key == "observers":
            return items.get("enum", [items.get("const")])
        return [fill(items, root, f"{text}.{n}", key) for n in range(1, node.get("minItems", 1) + 1)]
    if node["type"] == "boolean":
        return True
    if node["type"] == "integer":
        return 1
    return "" if key == "harm" else f"{key} {text}"


async def drop(request: web.Request) -> None:
    """Breaks the connection before the answer."""
    assert request.transport
    request.transport.abort()


async def drop_mid_body(request: web.Request) -> web.StreamResponse:
    """Breaks the connection in the middle of the body."""
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport
    request.transport.abort()
    return response


async def garble_mid_body(request: web.Request) -> web.StreamResponse:
    """Sends something that is no HTTP in the middle of the body, and goes on."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    await asyncio.sleep(0.05)  # it has to come by itself
    assert request.transport
    request.transport.write(b"zz\r\n")
    return response


@contextmanager
def fake_server(port: int = 0) -> Iterator[FakeServer]:
    server, loop, ready = FakeServer(), asyncio.new_event_loop(), threading.Event()

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", server.models)
        app.router.add_post("/v1/chat/completions", server.complete)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


if __name__ == "__main__":  # python -m tests.fake PORT [MODEL [WORD]]: as a process of its own, until it is stopped
    with fake_server(int(sys.argv[1])) as running:
        if len(sys.argv) > 3 and sys.argv[3] in sys.argv[2]:  # models with WORD in their names refuse whatever one asks
            running.on["text"] = lambda body: "I'm sorry, but I can't help with that."
        threading.Event().wait()
