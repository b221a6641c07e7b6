"""The endpoint, over real HTTP: the forms it asks in, what it retries, and what it says when all is in vain."""

from __future__ import annotations

import asyncio
import json
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate
from time import time
from typing import Any, Literal

import pytest
from aiohttp import web
from pydantic import Field

from matrix_align.errors import BadReply, ContextOverflow, InputError, ModelError, Overloaded, Refused, Unreachable
from matrix_align.llm import http as http_module
from matrix_align.llm.endpoint import Endpoint
from matrix_align.llm.http import BODY_LIMIT
from matrix_align.llm.model import Model, Scripted
from matrix_align.llm.schema import plain_schema_of, schema_of
from matrix_align.llm.structured import FromModel, Line
from matrix_align.types import Message, Sampling, Usage

from .conftest import whole
from .fake import FakeServer, completion, drop, drop_mid_body, error, fill

Ask = Callable[[Model], Awaitable[Any]]
KEY = "sk-not-a-real-key-2718281828"
SAMPLING = Sampling(temperature=0.7, max_tokens=64, seed=3)
ASKED = [Message(role="user", content="Which colour?")]
PICK = {"colour": "blue", "why": "It is calm.", "steps": ["Buy it.", "Paint."]}
TWO = {"data": [{"id": "small"}, {"id": "large"}]}

# What servers say
AFTER = [("7", 7, 7), ("2.5", 2.5, 2.5), ("date", 20, 50), ("86400", 60, 60)]  # nobody waits for a day
NOT_AFTER = ["Thu, 01 Jan 1970 00:00:00 GMT", "-5", "nan", "soon", "Mon, 99 Jan 2020"]
NO = "no such thing"
MAX_TOKENS = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead"
LLAMA_CPP = "request (6031 tokens) exceeds the available context size (4096 tokens), try increasing it"
VLLM = "This model's maximum context length is 4096 tokens. However, you requested 6543 tokens (6031 in the messages)"
OPENAI = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens."
LATE_OPENAI = "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens."
CODE = "context_length_exceeded"


class Pick(FromModel):
    colour: Literal["red", "blue"]
    why: Line
    steps: tuple[Line, ...] = Field(min_length=1, max_length=2)


async def say(model: Model) -> str:
    return (await model.ask(ASKED, str, SAMPLING)).value


async def pick(model: Model) -> Pick:
    return (await model.ask(ASKED, Pick, SAMPLING)).value


async def fault(kind: type[ModelError], url: str, ask: Ask = say, name: str = "m", **options: Any) -> ModelError:
    """What is raised when the server at `url` is asked; it must be of just this kind."""
    async with Endpoint(url, name, **{"attempts": 1, "read": 30, **options}) as model:
        with pytest.raises(kind) as caught:
            await ask(model)
    assert type(caught.value) is kind
    return caught.value


def turns(*said: Any) -> Callable[[dict[str, Any]], Any]:
    """One reply after the other."""
    left = iter(said)
    return lambda _: next(left)


class Waits(list[float]):
    """Stands in for asyncio in the endpoint's module alone: it notes how long was to be slept, and sleeps nothing."""

    async def sleep(self, seconds: float) -> None:
        self.append(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    noted = Waits()
    monkeypatch.setattr(http_module, "asyncio", noted)
    return noted


def http(body: str, status: str = "200 OK", header: str = "X-Nothing: 0") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{header}\r\n\r\n"
    return (head + body).encode("latin-1")


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that answers everything with these bytes, which no well-behaved server would send; gives its URL."""

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


async def test_typed_reply_is_asked_for_by_schema(server: FakeServer, model: Endpoint) -> None:
    server.on["Pick"] = lambda _: PICK
    assert await pick(model) == Pick.model_validate(PICK)
    sampling = {"temperature": 0.7, "max_tokens": 64, "seed": 3}
    asked = {"model": server.name, "messages": [{"role": "user", "content": "Which colour?"}]}
    form = {"type": "json_schema", "json_schema": {"name": "Pick", "schema": schema_of(Pick), "strict": True}}
    assert server.requests == [{**asked, **sampling, "response_format": form}]


async def test_plain_reply_is_asked_for_without_a_form_and_may_be_cut(server: FakeServer, model: Endpoint) -> None:
    server.on["text"] = lambda _: completion("Blue, beca", finish="length")
    reply = await model.ask(ASKED, str, SAMPLING)
    assert (reply.value, reply.cut) == ("Blue, beca", True)
    assert [body.keys() & {"response_format"} for body in server.requests] == [set()]


async def test_lengths_in_a_schema_are_left_out_once_refused(server: FakeServer, model: Endpoint) -> None:
    server.on["Pick"] = lambda body: error(400, "Invalid schema") if "maxLength" in json.dumps(body) else PICK
    assert [(await pick(model)).colour, (await pick(model)).colour] == ["blue", "blue"]
    schemas = [body["response_format"]["json_schema"]["schema"] for body in server.requests]
    assert schemas == [schema_of(Pick), plain_schema_of(Pick), plain_schema_of(Pick)]


async def test_words_are_used_once_schemas_are_refused(server: FakeServer, model: Endpoint) -> None:
    server.refuses = ("response_format",)
    server.on["text"] = lambda _: PICK
    assert [(await pick(model)).colour, (await pick(model)).colour] == ["blue", "blue"]
    assert ["response_format" in body for body in server.requests] == [True, True, False, False]
    for body in server.requests[2:]:
        assert body["messages"][0]["content"].startswith("Which colour?\n\n")
        assert json.dumps(schema_of(Pick)) in body["messages"][0]["content"]


async def test_whole_scene_in_words(server: FakeServer, model: Endpoint) -> None:
    """The server reads the schema out of the prompt, as a model would."""

    def obey(body: dict[str, Any]) -> Any:
        asked = body["messages"][-1]["content"].rsplit("\n", 1)[-1]
        if not asked.startswith('{"'):
            return "It depends. Ask first."
        return fill(json.loads(asked), json.loads(asked), f"thing {len(server.requests)}")

    server.refuses = ("response_format",)
    server.on["text"] = obey
    scene = await whole(model)
    assert scene.events
    assert scene.revised == "It depends. Ask first."


async def test_room_is_named_as_the_server_wants_it(server: FakeServer, model: Endpoint) -> None:
    server.on["text"] = lambda body: error(400, MAX_TOKENS) if "max_tokens" in body else "Blue."
    assert [await say(model), await say(model)] == ["Blue.", "Blue."]
    rooms = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in server.requests]
    assert rooms == [(64, None), (None, 64), (None, 64)]


@pytest.mark.parametrize(("refused", "words"), [("response_format", "no response_format"), ("max_tokens", MAX_TOKENS)])
async def test_first_calls_give_way_together(server: FakeServer, model: Endpoint, refused: str, words: str) -> None:
    """Each of four was refused what the first to hear of it has given up meanwhile."""
    meeting = asyncio.Barrier(4)

    async def refuse(request: web.Request) -> web.Response:
        await meeting.wait()
        return error(400, words)

    server.faults = [refuse] * 4
    answer = lambda body: error(400, words) if refused in body else PICK  # noqa: E731
    server.on["Pick"] = server.on["text"] = answer
    assert [found.colour for found in await asyncio.gather(*(pick(model) for _ in range(4)))] == ["blue"] * 4


@pytest.mark.parametrize("name", ["temperature", "seed"])
async def test_what_the_server_does_not_take_is_left_out(server: FakeServer, model: Endpoint, name: str) -> None:
    server.refuses = (name,)
    assert await say(model) == await say(model)
    assert [name in body for body in server.requests] == [True, False, False]
    assert {"temperature", "seed", "max_tokens"} - server.requests[-1].keys() == {name}


async def test_wrong_reply_is_sent_back_with_the_fault(server: FakeServer, model: Endpoint) -> None:
    server.on["Pick"] = turns("Blue, I think.", {**PICK, "colour": "green"}, PICK)
    assert (await pick(model)).colour == "blue"
    first, second, third = (body["messages"] for body in server.requests)
    assert second[:2] == [*first, {"role": "assistant", "content": "Blue, I think."}]
    assert "no whole JSON object" in second[2]["content"]
    assert "green" in third[1]["content"]
    assert "colour" in third[2]["content"]
    assert "Blue, I think." not in json.dumps(third), "only the newest wrong reply: the prompt stays short"
    assert len({body["seed"] for body in server.requests}) == 3, "of one seed, a server would say the same again"


@pytest.mark.parametrize(("finish", "told"), [("stop", "whole JSON object"), ("length", "cut off")])
async def test_wrong_replies_are_bounded(server: FakeServer, finish: str, told: str) -> None:
    server.on["Pick"] = lambda _: completion('{"colour": "bl', finish=finish)
    found = await fault(BadReply, server.url, pick)
    assert told in str(found)
    assert found.reply == '{"colour": "bl'
    assert len(server.requests) == 3


CUT_SHORT = [(pick, '{"colour": "bl', PICK), (say, "<think>Sea, sky, and", "<think>Sea.</think>Blue.")]


@pytest.mark.parametrize(("ask", "cut", "then"), CUT_SHORT)
async def test_cut_reply_gets_more_room(server: FakeServer, model: Endpoint, ask: Ask, cut: str, then: Any) -> None:
    server.on["Pick"] = server.on["text"] = turns(completion(cut, finish="length"), then)
    assert await ask(model) in (Pick.model_validate(PICK), "Blue.")
    first, second = server.requests
    assert second["max_tokens"] > first["max_tokens"]
    assert second["messages"] == first["messages"], "the reply was not wrong, only short"


async def test_more_room_than_there_is_makes_a_bad_reply(server: FakeServer) -> None:
    """Not a context overflow: a shorter prompt is not what it takes."""
    server.on["Pick"] = turns(completion('{"colour": "bl', finish="length"), error(400, VLLM))
    assert "cut off" in str(await fault(BadReply, server.url, pick))


MESSAGES: list[Any] = [None, "hi", [], {"content": None}, {"content": 5}, {"content": [5]}, {"content": " \n"}]
BODIES = ["null", "5", "[]", "{}", '{"choices": null}', '{"choices": []}', '{"choices": [5]}', '{"choices": [[]]}']
BODIES += [json.dumps({"choices": [{"message": each}], "usage": {"prompt_tokens_details": [1]}}) for each in MESSAGES]


@pytest.mark.parametrize("body", BODIES)
async def test_body_without_an_answer_is_a_bad_reply(server: FakeServer, body: str) -> None:
    server.on["text"] = lambda _: web.Response(text=body)
    assert "empty" in str(await fault(BadReply, server.url))
    assert len(server.requests) == 3


def sent(status: int, text: str, **headers: str) -> Callable[[web.Request], web.Response]:
    return lambda _: web.Response(status=status, text=text, headers=headers)


BUSY = [408, 409, 429, 500, 502, 503]
BROKEN: list[tuple[Any, type[ModelError]]] = [(sent(status, "warming up"), Overloaded) for status in BUSY]
BROKEN += [(drop, Unreachable), (drop_mid_body, Unreachable)]
BROKEN += [(sent(200, "not gzip", **{"Content-Encoding": "gzip"}), Unreachable)]
BROKEN += [(sent(200, "<html>Bad gateway"), Unreachable), (sent(200, '{"choices": [{"mess'), Unreachable)]


@pytest.mark.parametrize(("broken", "kind"), BROKEN)
async def test_broken_answer_is_asked_for_again(
    server: FakeServer, model: Endpoint, waits: Waits, broken: Any, kind: type[ModelError]
) -> None:
    server.faults = [broken] * 2
    assert await say(model) == "It depends. Ask first."
    assert len(server.requests) == 3
    assert 0 < waits[0] < waits[1], "it backs off"
    server.faults = [broken] * 3
    told = str(await fault(kind, server.url, attempts=3))
    assert len(server.requests) == 6
    assert len(waits) == 4, "nothing is waited for after the last attempt"
    assert kind is not Overloaded or "warming up" in told


@pytest.mark.parametrize(("header", "least", "most"), AFTER + [(each, 0, 1) for each in NOT_AFTER])
async def test_retry_after(
    server: FakeServer, model: Endpoint, waits: Waits, header: str, least: float, most: float
) -> None:
    wanted = formatdate(time() + 50, usegmt=True) if header == "date" else header
    server.faults = [lambda _: error(429, "slow down", **{"Retry-After": wanted})]
    await say(model)
    assert len(waits) == 1
    assert least <= waits[0] <= most


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("ask", [say, pick])
async def test_no_is_final_and_said_in_the_servers_words(server: FakeServer, status: int, ask: Ask) -> None:
    server.faults = [lambda _: error(status, "not you,\nnot today")]
    assert f"{status}: not you, not today" in str(await fault(Refused, server.url, ask, attempts=3))
    assert len(server.requests) == 1


SAID = [{"error": {"message": NO, "type": "t"}}, {"error": NO}, {"message": NO, "code": 1}, {"detail": [{"msg": NO}]}]


@pytest.mark.parametrize("body", [NO, *map(json.dumps, [*SAID, {"error": None, "message": NO}])])
async def test_the_servers_words_are_found(server: FakeServer, body: str) -> None:
    server.on["text"] = lambda _: web.Response(status=400, text=body)
    told = str(await fault(Refused, server.url))
    assert NO in told
    assert "null" not in told


async def test_only_what_the_server_says_makes_it_step_down(server: FakeServer) -> None:
    """Not our own words around it: the address or the model's name may hold 'schema' or 'seed'."""
    server.on["Pick"] = lambda _: error(404, "no such model")
    await fault(Refused, server.url, pick, name="seed-schema-7b")
    assert len(server.requests) == 1


async def test_nobody_there(waits: Waits) -> None:
    told = str(await fault(Unreachable, "http://127.0.0.1:1/v1", attempts=2))
    assert "http://127.0.0.1:1/v1 can't be reached: " in told
    assert len(waits) == 1


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(2000):
        await asyncio.sleep(0.03)
        await response.write(b" ")
    return response


@pytest.mark.parametrize("slow", [lambda _: asyncio.sleep(60), drip])
async def test_slow_server(server: FakeServer, waits: Waits, slow: Any) -> None:
    """A byte now and then is no sign of life: the time-out is for the whole reply."""
    server.faults = [slow] * 2
    assert "within 0.3 s" in str(await fault(Unreachable, server.url, attempts=2, read=0.3))
    assert len(server.requests) == 2


async def test_connect_timeout_is_told_as_what_it_is() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for queued in (first, second):  # nobody accepts: further connections are left waiting
            queued.setblocking(False)
            queued.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        assert "within 77 s" not in str(await fault(Unreachable, url, connect=0.2, read=77))


async def test_as_many_calls_at_once_as_are_made(server: FakeServer) -> None:
    """They only get an answer when all of them are there."""
    meeting = asyncio.Barrier(120)
    server.faults = [lambda _: meeting.wait()] * 120
    async with Endpoint(server.url, "m", attempts=1, read=30) as model:
        assert len(await asyncio.gather(*(say(model) for _ in range(120)))) == 120
    assert server.busiest == 120


OVERFLOWS: list[dict[str, Any]] = [
    {"error": {"code": 400, "message": LLAMA_CPP, "type": "exceed_context_size_error"}},
    {"object": "error", "message": VLLM, "type": "BadRequestError", "code": 400},
    *({"error": {"message": each, "type": "invalid_request_error", "code": CODE}} for each in (OPENAI, LATE_OPENAI)),
]


@pytest.mark.parametrize("body", OVERFLOWS)
@pytest.mark.parametrize("ask", [say, pick])
async def test_context_overflow(server: FakeServer, body: dict[str, Any], ask: Ask) -> None:
    server.on["text"] = server.on["Pick"] = lambda _: web.json_response(body, status=400)
    assert "tokens" in str(await fault(ContextOverflow, server.url, ask))
    assert len(server.requests) == 1


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


@pytest.mark.parametrize(
    ("listed", "told"),
    [(TWO, "small, large"), *(({"data": data}, "none") for data in ([], None, 5, "ab", ["small"])), ([], "none")],
)
async def test_name_must_be_given_otherwise(listed: Any, told: str) -> None:
    async with answering(http(json.dumps(listed))) as url:
        with pytest.raises(InputError, match=f"--model.*{told}"):
            async with Endpoint(url, attempts=1):
                pass


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/chat/completions/"])
async def test_forms_of_the_address(server: FakeServer, ending: str) -> None:
    """The model's name need not be given where there is only one."""
    async with Endpoint(server.url.removesuffix("/v1") + ending) as model:
        assert model.url == server.url
        assert await say(model)
    assert model.name == server.requests[0]["model"] == server.name


NO_SERVER = ["", "localhost:8000", "ftp://localhost/v1", "file:///etc/hosts", "http://", "http:///v1", "http://[::1/v1"]
NO_PORT = ["http://localhost:port/v1", "http://localhost:99999/v1"]
NO_BASE = ["http://a/v1?", "http://a/v1?b=c", "http://a/v1#b", "http://a b/v1", "http://a..b/v1"]
SECRET = ["http://u:hush@localhost/v1", "ftp://u:hush@localhost", "http://u:hush@localhost:port", "u:hush@localhost:80"]


@pytest.mark.parametrize("url", NO_SERVER + NO_PORT + NO_BASE + SECRET)
async def test_unusable_address(url: str) -> None:
    with pytest.raises(InputError) as caught:
        async with Endpoint(url, "m", attempts=1) as model:
            await say(model)
    assert "hush" not in str(caught.value), "a password is refused, and not repeated"


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
