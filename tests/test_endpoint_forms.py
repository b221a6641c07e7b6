"""The forms in which the endpoint asks, which of them it gives up, and when it asks for a reply again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from matrix_align.errors import BadReply, Overloaded, Refused
from matrix_align.llm.dialect import ENOUGH
from matrix_align.llm.endpoint import Endpoint
from matrix_align.llm.model import Model
from matrix_align.llm.schema import plain_schema_of, schema_of
from matrix_align.llm.structured import FromModel
from matrix_align.types import Message

from .asking import ASKED, PICK, SAMPLING, Ask, Pick, Waits, fault, pick, say, turns
from .conftest import played
from .fake import FakeServer, completion, error, fill, kind

MAX_TOKENS = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead"
VLLM = "This model's maximum context length is 4096 tokens. However, you requested 6543 tokens (6031 in the messages)"


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
    assert (reply.value, reply.cut) == ("Blue, beca", "length")
    assert [body.keys() & {"response_format"} for body in server.requests] == [set()]


async def test_lengths_in_a_schema_are_left_out_once_refused(
    server: FakeServer, model: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """The refused call leaves them out at once, the reply type after ENOUGH refusals. One warning says so."""
    server.on["Pick"] = lambda body: error(400, "Invalid schema") if "maxLength" in json.dumps(body) else PICK
    assert [(await pick(model)).colour for _ in range(4)] == ["blue"] * 4
    schemas = [body["response_format"]["json_schema"]["schema"] for body in server.requests]
    assert schemas == [schema_of(Pick), plain_schema_of(Pick)] * ENOUGH + [plain_schema_of(Pick)] * 2
    assert len(caplog.messages) == 1
    assert "refuses the schema of Pick (Invalid schema); from now on, that reply is asked for by" in caplog.messages[0]


async def test_words_are_used_once_schemas_are_refused(server: FakeServer, model: Endpoint) -> None:
    server.refuses = ("response_format",)
    server.on["text"] = lambda _: PICK
    assert [(await pick(model)).colour for _ in range(3)] == ["blue"] * 3
    assert ["response_format" in body for body in server.requests] == [True, True, False] * ENOUGH + [False]
    for body in (body for body in server.requests if "response_format" not in body):
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
    scene = await played(model)
    assert scene.events
    assert scene.revised == "It depends. Ask first."


async def test_room_is_named_as_the_server_wants_it(server: FakeServer, model: Endpoint) -> None:
    server.on["text"] = lambda body: error(400, MAX_TOKENS) if "max_tokens" in body else "Blue."
    assert [await say(model), await say(model)] == ["Blue.", "Blue."]
    rooms = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in server.requests]
    assert rooms == [(64, None), (None, 64), (None, 64)]


@pytest.mark.parametrize(("refused", "words"), [("response_format", "no response_format"), ("max_tokens", MAX_TOKENS)])
async def test_first_calls_give_way_together(server: FakeServer, model: Endpoint, refused: str, words: str) -> None:
    """Each of four calls is refused a form that the first refused call has given up meanwhile."""
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


async def test_only_what_the_server_says_makes_it_step_down(server: FakeServer) -> None:
    """Our own words around it don't count: the address or the model's name may hold 'schema' or 'seed'."""
    server.on["Pick"] = lambda _: error(404, "no such model")
    await fault(Refused, server.url, pick, name="seed-schema-7b")
    assert len(server.requests) == 1


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
    """It is not a context overflow, because a shorter prompt would not help."""
    server.on["Pick"] = turns(completion('{"colour": "bl', finish="length"), error(400, VLLM))
    assert "cut off" in str(await fault(BadReply, server.url, pick))


class Other(FromModel):
    number: int


async def other(model: Model) -> int:
    return (await model.ask(ASKED, Other, SAMPLING)).value.number


def asked_by_schema(server: FakeServer, name: str) -> list[bool]:
    """For all requests for one reply type, in order, whether a schema was sent."""
    asked = [("response_format" in body, body) for body in server.requests]
    return [schema for schema, body in asked if name == (kind(body) if schema else wanted_in_words(body))]


def wanted_in_words(body: dict[str, Any]) -> str:
    return "Pick" if '"colour"' in body["messages"][-1]["content"] else "Other"


async def test_one_refusal_changes_nothing_for_good(server: FakeServer, model: Endpoint) -> None:
    """A server that once failed to build a grammar gets schemas again, for this reply type and for others."""
    server.on["text"] = lambda body: PICK if wanted_in_words(body) == "Pick" else {"number": 1}
    server.on["Other"] = lambda _: {"number": 1}
    server.on["Pick"] = turns(*(error(400, "grammar failed") for _ in range(2)), *[PICK] * 4)
    assert [(await pick(model)).colour for _ in range(4)] == ["blue"] * 4
    assert asked_by_schema(server, "Pick") == [True, True, False, True, True, True]
    assert await other(model) == 1
    assert asked_by_schema(server, "Other") == [True]


async def test_replies_outweigh_refusals(server: FakeServer, model: Endpoint) -> None:
    """A reply type with more replies than refusals keeps its schema through a burst of refusals."""
    server.on["text"] = lambda _: PICK
    refusals = [error(400, "grammar failed") for _ in range(6)]
    server.on["Pick"] = turns(*[PICK] * 5, *refusals, PICK)
    for _ in range(9):
        await pick(model)
    assert asked_by_schema(server, "Pick")[-1], "three times refused, five times answered"


async def test_refusals_count_per_reply_type(server: FakeServer, model: Endpoint) -> None:
    server.on["Pick"] = lambda _: error(400, "grammar failed")
    server.on["text"] = lambda _: PICK
    server.on["Other"] = lambda _: {"number": 1}
    for _ in range(ENOUGH + 1):
        await pick(model)
        await other(model)
    assert asked_by_schema(server, "Pick")[-1:] == [False]
    assert asked_by_schema(server, "Other") == [True] * (ENOUGH + 1)


@pytest.mark.parametrize("status", [500, 501, 502])
async def test_server_that_breaks_on_a_schema_is_asked_in_words(
    server: FakeServer, model: Endpoint, waits: Waits, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """The server answers plain calls all the time, so only the schema can be the cause."""
    server.on["Pick"] = lambda _: error(status, "internal error")
    server.on["text"] = lambda body: PICK if "JSON schema" in str(body) else "Well."
    assert (await pick(model)).colour == "blue"
    assert [(await pick(model)).colour for _ in range(3)] == ["blue"] * 3
    assert asked_by_schema(server, "Pick")[-2:] == [False] * 2
    assert f"answers {status} to the schema of Pick" in caplog.text


async def test_server_that_is_down_is_not_asked_in_words(server: FakeServer, waits: Waits) -> None:
    server.on["Pick"] = server.on["text"] = lambda _: error(500, "out of memory")
    assert "out of memory" in str(await fault(Overloaded, server.url, pick))
    assert kinds_of(server) == ["Pick", "text"], "the schema, and a word to see whether it is there"


async def test_schema_that_was_answered_before_is_not_what_breaks(server: FakeServer, model: Endpoint) -> None:
    server.on["Pick"] = turns(PICK, *(error(500, "crash") for _ in range(3)))
    await pick(model)
    with pytest.raises(Overloaded):
        await pick(model)
    assert kinds_of(server) == ["Pick"] * 4


def kinds_of(server: FakeServer) -> list[str]:
    return [kind(body) for body in server.requests]


async def test_schema_that_is_passed_over(
    server: FakeServer, model: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """The server accepts `response_format` and ignores it. Even the first call ends well, in words."""
    server.on["Pick"] = lambda _: "I would say blue."
    server.on["text"] = lambda _: PICK
    assert [(await pick(model)).colour for _ in range(3)] == ["blue"] * 3
    assert asked_by_schema(server, "Pick") == [True] * ENOUGH + [False] * 3
    assert [message for message in caplog.messages if "ignores the schema of Pick" in message] == caplog.messages
    assert len(caplog.messages) == 1


async def test_reply_cut_while_the_model_reasoned_is_no_schema_passed_over(
    server: FakeServer, model: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """The model follows the schema after its reasoning, which the server sends in the same text."""
    whole = f"<think>Sea.</think>{json.dumps(PICK)}"
    server.on["Pick"] = turns(*(each for _ in range(3) for each in (completion("<think>Sea, s", "length"), whole)))
    assert [(await pick(model)).colour for _ in range(3)] == ["blue"] * 3
    assert asked_by_schema(server, "Pick") == [True] * 6
    assert not caplog.messages


@pytest.mark.parametrize("how", [{"refusal": "I can't help with that."}, {"finish": "content_filter"}])
async def test_refusal_is_no_schema_passed_over(
    server: FakeServer, model: Endpoint, caplog: pytest.LogCaptureFixture, how: dict[str, Any]
) -> None:
    """A harmful question brings many refusals. The model follows the schema for the next one."""
    server.on["Pick"] = lambda _: completion("" if "refusal" in how else "No.", **how)
    with pytest.raises(BadReply):
        await pick(model)
    assert asked_by_schema(server, "Pick") == [True] * 3
    assert not caplog.messages


async def test_wrong_json_is_no_schema_passed_over(server: FakeServer, model: Endpoint) -> None:
    server.on["Pick"] = turns({"colour": "green"}, {"colour": "green"}, PICK)
    assert (await pick(model)).colour == "blue"
    assert asked_by_schema(server, "Pick") == [True] * 3


async def test_long_prompt_that_is_cut_by_the_server(
    server: FakeServer, model: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Ollama cuts beyond num_ctx: it reads fewer tokens than the characters can make. One warning says so."""
    long = [Message(role="user", content="Which colour? " * 1000)]
    await model.ask(long, str, SAMPLING)
    assert not caplog.messages
    server.on["text"] = lambda _: completion("Blue.", prompt_tokens=512)
    for _ in range(2):
        await model.ask(long, str, SAMPLING)
    assert ["cuts long prompts" in message for message in caplog.messages] == [True]
    assert "512 tokens of a prompt of 14,000 characters" in caplog.text
