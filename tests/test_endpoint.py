"""The endpoint over real HTTP: its address and key, what it reads from an answer, and concurrent calls."""

from __future__ import annotations

import asyncio
import gzip
import json
import traceback
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from matrix_align.errors import BadReply, ContextOverflow, InputError, Overloaded, Refused, Unreachable
from matrix_align.llm.endpoint import Endpoint
from matrix_align.llm.http import BODY_LIMIT
from matrix_align.llm.model import Scripted
from matrix_align.types import Message, Usage

from .asking import ASKED, KEY, PICK, SAID_BLUE, SAMPLING, Pick, answering, fault, http, pick, recording, say, turns
from .fake import FakeServer, completion, error

MESSAGES: list[Any] = [None, "hi", [], {"content": None}, {"content": 5}, {"content": [5]}, {"content": " \n"}]
BODIES = ["null", "5", "[]", "{}", '{"choices": null}', '{"choices": []}', '{"choices": [5]}', '{"choices": [[]]}']
BODIES += [json.dumps({"choices": [{"message": each}], "usage": {"prompt_tokens_details": [1]}}) for each in MESSAGES]


@pytest.mark.parametrize("body", BODIES)
async def test_body_without_an_answer_is_a_bad_reply(server: FakeServer, body: str) -> None:
    server.on["text"] = lambda _: web.Response(text=body)
    assert "empty" in str(await fault(BadReply, server.url))
    assert len(server.requests) == 3


async def test_as_many_calls_at_once_as_are_made(server: FakeServer) -> None:
    """The server answers only when all calls have arrived."""
    meeting = asyncio.Barrier(120)
    server.faults = [lambda _: meeting.wait()] * 120
    async with Endpoint(server.url, "m", attempts=1, read=30) as model:
        assert len(await asyncio.gather(*(say(model) for _ in range(120)))) == 120
    assert server.busiest == 120


THOUGHT = [{"content": "Blue.", name: "Sea."} for name in ("reasoning_content", "reasoning")]
THOUGHT += [{"content": "<think>Sea.\n</think>\n\nBlue."}, {**THOUGHT[0], **THOUGHT[1]}]
BLURTED = [{"content": "Blue.", "reasoning_content": None}, {"content": None, "refusal": "Blue."}]


@pytest.mark.parametrize(("message", "thought"), [(m, "Sea.") for m in THOUGHT] + [(m, "") for m in BLURTED])
async def test_answer_and_reasoning_are_kept_apart(
    server: FakeServer, model: Endpoint, message: dict[str, Any], thought: str
) -> None:
    server.on["text"] = lambda _: completion("", **message)
    reply = await model.ask(ASKED, str, SAMPLING)
    assert (reply.value, reply.text, reply.reasoning) == ("Blue.", "Blue.", thought)


async def test_usage(server: FakeServer, model: Endpoint) -> None:
    server.on["Pick"] = turns("no", PICK)  # the wrong reply has to be paid for, too
    reply = await model.ask(ASKED, Pick, SAMPLING)
    assert reply.usage.model_copy(update={"seconds": 0}) == Usage(
        prompt_tokens=200, cached_tokens=80, completion_tokens=20, requests=2
    )
    assert reply.usage.seconds > 0


async def test_long_bodies_both_ways(server: FakeServer, model: Endpoint) -> None:
    long = "ü" * 2_000_000
    server.on["text"] = lambda body: body["messages"][0]["content"]
    assert (await model.ask([Message(role="user", content=long)], str, SAMPLING)).value == long


async def test_body_without_end_is_not_read_to_the_end(server: FakeServer) -> None:
    server.on["text"] = lambda _: web.Response(body=b'"' + b"a" * BODY_LIMIT + b'"')
    assert "more than 16 MiB" in str(await fault(BadReply, server.url))


async def test_small_body_that_unpacks_to_a_long_one_is_not_read_to_the_end(server: FakeServer) -> None:
    packed = gzip.compress(b" " * (BODY_LIMIT + 2**20))
    server.on["text"] = lambda _: web.Response(body=packed, headers={"Content-Encoding": "gzip"})
    assert "more than 16 MiB" in str(await fault(BadReply, server.url))


async def test_text_that_nothing_else_takes_is_cleaned(server: FakeServer, model: Endpoint) -> None:
    server.on["text"] = lambda _: "Grüße, 世界 😀 a\0b \ud800 \udc00!"
    reply = await model.ask([Message(role="user", content="a\0b \ud83d 😀 \udc00")], str, SAMPLING)
    assert reply.text == reply.value == "Grüße, 世界 😀 ab � �!"
    assert server.requests[0]["messages"][0]["content"] == "ab � 😀 �"
    server.on["Pick"] = lambda _: json.dumps({**PICK, "why": "a\0b \ud800"})
    assert (await pick(model)).why == "ab �"


async def test_key_is_sent_and_a_wrong_one_is_told(server: FakeServer) -> None:
    server.key = KEY
    async with Endpoint(server.url, "m", key=KEY) as model:
        await say(model)
        assert KEY not in repr(model)
    told = str(await fault(Refused, server.url, key="sk-another"))
    assert "401: wrong key" in told
    assert "MATRIX_ALIGN_API_KEY" in told


@pytest.mark.parametrize("key", ["token", "seed", "max_tokens", "schema"])
async def test_key_that_is_a_word_hides_nothing_from_us(server: FakeServer, key: str) -> None:
    """The server's words are classified as they were sent. The key is hidden only where they are shown."""
    words = "Unsupported parameter: 'max_tokens' is not supported with this token. Use 'max_completion_tokens' instead"
    server.key = key
    server.on["text"] = lambda body: error(400, words) if "max_tokens" in body else "Blue."
    async with Endpoint(server.url, "m", key=key, attempts=1) as model:
        assert await say(model) == "Blue."
    server.on["text"] = lambda _: error(400, f"`inputs` tokens + `max_new_tokens` must be <= 2048, {key}")
    assert key not in str(await fault(ContextOverflow, server.url, key=key))


ECHOES = {
    "error text": (Refused, http(json.dumps({"error": {"message": f"Wrong API key: {KEY}"}}), status="401 Wrong")),
    "error object": (Refused, http(json.dumps({"error": {"headers": [f"Bearer {KEY}"]}}), status="400 Bad")),
    "reason phrase": (Refused, http("", status=f"403 {KEY} \xff")),
    "busy": (Overloaded, http(f"<html>Bearer {KEY}", status="503 Busy")),
    "no JSON": (Unreachable, http(f"<html>Bearer {KEY}")),
    "header": (Unreachable, http("", header=f"Bad\0Header: {KEY}")),
    "status line": (Unreachable, f"{KEY}\r\n\r\n".encode()),
}


@pytest.mark.parametrize("way", ECHOES)
async def test_key_is_in_no_error(way: str) -> None:
    kind, answer = ECHOES[way]
    async with answering(answer) as url:
        told = await fault(kind, url, pick, key=KEY)
    str(told).encode()  # a reason phrase is any bytes, and the error is to be written down
    assert KEY not in "".join(traceback.format_exception(told)) + repr(told) + told.reply


async def test_key_that_no_header_takes(server: FakeServer) -> None:
    server.key = KEY
    async with Endpoint(server.url, "m", key=f"{KEY}\n", attempts=1) as model:  # as it is read from a file
        await say(model)
    with pytest.raises(InputError) as caught:
        async with Endpoint(server.url, "m", key=f"{KEY}\nX-Other: 1", attempts=1) as model:
            await say(model)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/chat/completions/"])
async def test_forms_of_the_address(server: FakeServer, ending: str) -> None:
    """The model's name may be left out if the server has only one."""
    async with Endpoint(server.url.removesuffix("/v1") + ending) as model:
        assert model.url == server.url
        assert await say(model)
    assert model.name == server.requests[0]["model"] == server.name


NO_SERVER = ["", "localhost:8000", "ftp://localhost/v1", "file:///etc/hosts", "http://", "http:///v1", "http://[::1/v1"]
NO_PORT = ["http://localhost:port/v1", "http://localhost:99999/v1"]
NO_BASE = ["http://a/v1#b", "http://a/v1?b#c", "http://a b/v1", "http://a/v1?b c", "http://a..b/v1"]
SECRET = ["http://a/v1?key=hush", "http://a/v1?b=c&API-Key=hush", "http://a/v1?subscription-key=hush"]
SECRET += [
    "http://u:hush@localhost/v1",
    "ftp://u:hush@localhost",
    "http://u:hush@localhost:port",
    "u:hush@localhost:80",
]


@pytest.mark.parametrize("url", NO_SERVER + NO_PORT + NO_BASE + SECRET)
async def test_unusable_address(url: str) -> None:
    with pytest.raises(InputError) as caught:
        async with Endpoint(url, "m", attempts=1) as model:
            await say(model)
    assert "hush" not in str(caught.value), "a password is refused, and not repeated"


@pytest.mark.parametrize("base", ["", "/v1", "/openai/deployments/gpt", "/v1/chat/completions"])
async def test_query_of_the_address_stays_on_every_path(base: str) -> None:
    """For example Azure's `api-version`. Without it, the server answers nothing."""
    async with recording(json.dumps({"data": [{"id": "only"}]}), json.dumps(SAID_BLUE)) as (url, asked):
        async with Endpoint(f"{url.removesuffix('/v1')}{base}?api-version=2024-10-21&b=c") as model:
            assert await say(model) == "Blue."
        async with Endpoint(model.url, "only") as again:  # another process opens it by this address
            assert await say(again) == "Blue."
    root = base.removesuffix("/chat/completions") or "/v1"
    query = "?api-version=2024-10-21&b=c"
    paths = [f"{root}/{path}{query}" for path in ("models", "chat/completions")]
    assert [line.split()[1] for line in asked] == paths * 2


async def test_empty_query_is_none(server: FakeServer) -> None:
    async with Endpoint(f"{server.url}?") as model:
        assert model.url == server.url
        assert await say(model)


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names no proxy."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("without_scheme", [False, True])
async def test_proxy_of_the_environment(no_proxy: pytest.MonkeyPatch, without_scheme: bool) -> None:
    """The proxy is used for servers elsewhere, except those that NO_PROXY names."""
    async with recording(json.dumps(SAID_BLUE)) as (url, asked):
        proxy = url.removesuffix("/v1")
        no_proxy.setenv("HTTP_PROXY", proxy.removeprefix("http://") if without_scheme else proxy)
        async with Endpoint("http://models.invalid/v1", "m", digest="", attempts=1) as model:
            assert await say(model) == "Blue."
        assert [line.split()[1] for line in asked] == ["http://models.invalid/v1/chat/completions"]
        no_proxy.setenv("NO_PROXY", "example.org,.invalid")
        await fault(Unreachable, "http://models.invalid/v1")
        assert len(asked) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
async def test_no_proxy_to_this_machine(server: FakeServer, no_proxy: pytest.MonkeyPatch, host: str) -> None:
    """A server here is on the loopback, and a proxy elsewhere could not reach it."""
    no_proxy.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    if host != "127.0.0.2":
        async with Endpoint(server.url.replace("127.0.0.1", host)) as model:
            assert await say(model)
    else:
        told = await fault(Unreachable, server.url.replace("127.0.0.1", host))
        assert "127.0.0.2" in str(told), "nothing listens there, and no proxy was asked"


async def test_scripted() -> None:
    def echo(messages: Sequence[Message]) -> dict[str, Any]:
        return {**PICK, "why": messages[0].content}

    model = Scripted("Blue.", PICK, json.dumps(PICK), echo, lambda _: Overloaded("busy"))
    assert await say(model) == "Blue."
    assert await pick(model) == await pick(model) == Pick.model_validate(PICK)
    assert (await pick(model)).why == "Which colour?"
    with pytest.raises(Overloaded, match="busy"):
        await say(model)
    with pytest.raises(BadReply, match="ended"):
        await say(model)
    model.enqueue({"colour": "green"}, Refused("no"))
    with pytest.raises(BadReply, match="colour") as caught:
        await pick(model)
    assert json.loads(caught.value.reply) == {"colour": "green"}
    with pytest.raises(Refused, match="no"):
        await say(model)
    assert len(model.asked) == 8
    assert model.asked[1] == (tuple(ASKED), Pick, SAMPLING)
