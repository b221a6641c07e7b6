"""How a reply ends: whole, cut at its length or in its reasoning, or by a filter. From the server to the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from matrix_align import BadReply, ContextOverflow, Endpoint, Message, Recorded, Sampling, Store
from matrix_align.llm.structured import FromModel, Line

from .conftest import Run, answered
from .fake import FakeServer, completion, error

ASKED = [Message(role="user", content="Which colour?")]
SAMPLING = Sampling(temperature=0.7, max_tokens=64, seed=3)
PICK = {"colour": "blue", "why": "It is calm."}
OVERFLOW = (
    "This model's maximum context length is 4096 tokens. However, you requested 6543 tokens (6031 in the messages)"
)
LENGTH = ["length", "max_tokens", "MAX_TOKENS", "max_output_tokens", "model_length", "token_limit", "MaxTokens"]
LENGTH += [
    "max_length",
    "max_completion_tokens",
    "model_context_window_exceeded",
    "context_length_exceeded",
    "ERROR_LIMIT",
]
FILTER = [
    "content_filter",
    "content-filter",
    "SAFETY",
    "safety",
    "RECITATION",
    "PROHIBITED_CONTENT",
    "blocklist",
    "SPII",
]
FILTER += [
    "BLOCKLIST",
    "refusal",
    "content_filtered",
    "guardrail_intervened",
    "IMAGE_SAFETY",
    "sensitive",
    "ERROR_TOXIC",
]
WHOLE = ["stop", "STOP", "end_turn", "eos", "eos_token", "stop_sequence", "COMPLETE", None, "tool_calls", "", 5]


class Pick(FromModel):
    colour: Literal["red", "blue"]
    why: Line


def rooms(server: FakeServer) -> list[int]:
    return [body["max_tokens"] for body in server.requests]


@pytest.mark.parametrize(
    ("finish", "cut"), [*((f, "length") for f in LENGTH), *((f, "filter") for f in FILTER), *((f, "") for f in WHOLE)]
)
async def test_every_word_for_an_end_is_understood(server: FakeServer, model: Endpoint, finish: Any, cut: str) -> None:
    server.on["text"] = lambda _: completion("Blue, beca", finish=finish)
    assert (await model.ask(ASKED, str, SAMPLING)).cut == cut
    assert len(server.requests) == 1


async def test_word_of_the_model_behind_the_server(server: FakeServer, model: Endpoint) -> None:
    """A router says 'stop', and also passes on the word of the server behind it."""
    server.on["text"] = lambda _: completion("Blue, beca", choice={"native_finish_reason": "SAFETY"})
    assert (await model.ask(ASKED, str, SAMPLING)).cut == "filter"


@pytest.mark.parametrize("finish", ["content_filter", "SAFETY"])
async def test_typed_reply_that_was_filtered_is_a_bad_one(server: FakeServer, model: Endpoint, finish: str) -> None:
    """Even if the JSON is whole, it is not everything the model wanted to say."""
    server.on["Pick"] = lambda _: completion(PICK, finish=finish)
    with pytest.raises(BadReply, match="content filter"):
        await model.ask(ASKED, Pick, SAMPLING)
    assert len({body["seed"] for body in server.requests}) == 3
    assert all(body["messages"] == server.requests[0]["messages"] for body in server.requests), "it was not wrong"


async def test_answer_that_was_filtered_away_is_a_bad_reply(server: FakeServer, model: Endpoint) -> None:
    server.on["text"] = lambda _: completion("", finish="content_filter")
    with pytest.raises(BadReply, match="content filter"):
        await model.ask(ASKED, str, SAMPLING)


@pytest.mark.parametrize("cut", ["length", "filter"])
async def test_record_keeps_how_a_reply_ended(server: FakeServer, model: Endpoint, tmp_path: Path, cut: str) -> None:
    server.on["text"] = lambda _: completion("It depends. Ask fir", finish={"length": "max_tokens"}.get(cut, "SAFETY"))
    with Store(tmp_path / "scenes.db") as store:
        first, _ = await answered(Recorded(model, store))
        again, _ = await answered(Recorded(model, store))
    for answer in (first, again):
        assert (answer.initial_cut, answer.text_cut) == (cut, cut)
        assert {call.cut for call in answer.calls if call.kind in ("initial", "revision")} == {cut}
        assert {call.cut for call in answer.calls if call.kind not in ("initial", "revision")} == {""}
    assert all(call.recorded for call in again.calls)


def thinking(server: FakeServer, needs: int) -> None:
    """Reasoning takes `needs` tokens. The answer gets the tokens that are left."""

    def answer(body: dict[str, Any]) -> Any:
        room = body["max_tokens"] - needs
        whole_answer = room >= SAMPLING.max_tokens
        text = "Blue." if whole_answer else "Bl" if room > 0 else ""
        return completion(text, finish="stop" if whole_answer else "length", reasoning_content="Sea, sky.")

    server.on["text"] = answer


@pytest.mark.parametrize("needs", [10, 64, 150])
async def test_reasoning_does_not_eat_the_room_of_the_answer(server: FakeServer, model: Endpoint, needs: int) -> None:
    """max_tokens limits the answer. Once a model is known to reason, it gets tokens for both."""
    thinking(server, needs)
    reply = await model.ask(ASKED, str, SAMPLING)
    assert (reply.value, reply.cut) == ("Blue.", "")
    assert reply.usage.requests == 2
    assert (await model.ask(ASKED, str, SAMPLING)).value == "Blue."
    assert rooms(server) == [64, 256, 256]
    assert server.requests[1]["messages"] == server.requests[0]["messages"], "the reply was not wrong, only short"


async def test_reasoning_without_end_is_given_up(server: FakeServer, model: Endpoint) -> None:
    thinking(server, 10**6)
    with pytest.raises(BadReply, match="cut off after 1024 tokens"):
        await model.ask(ASKED, str, SAMPLING)
    server.requests.clear()
    server.on["text"] = lambda _: completion("Blue, beca", finish="length", reasoning_content="Sea.")
    reply = await model.ask(ASKED, str, SAMPLING)
    assert (reply.value, reply.cut, reply.usage.requests) == ("Blue, beca", "length", 3), "what there is, and not whole"
    assert rooms(server)[0] == 64, "more room has not helped, so it is not asked for at once"


async def test_answer_without_reasoning_keeps_to_its_length(server: FakeServer, model: Endpoint) -> None:
    server.on["text"] = lambda _: completion("Blue, beca", finish="length")
    assert (await model.ask(ASKED, str, SAMPLING)).cut == "length"
    assert rooms(server) == [64]


async def test_cut_answer_stands_where_there_is_no_more_room(server: FakeServer, model: Endpoint) -> None:
    thinking(server, 10)
    server.on["text"], think = (
        (lambda body: error(400, OVERFLOW) if body["max_tokens"] > 64 else think(body)),
        server.on["text"],
    )
    reply = await model.ask(ASKED, str, SAMPLING)
    assert (reply.value, reply.cut, reply.usage.requests) == ("Bl", "length", 1)


async def test_room_that_a_prompt_leaves_not_is_not_its_fault(server: FakeServer, model: Endpoint) -> None:
    """A higher limit, learned from short prompts, does not fit a long prompt.

    That prompt is asked again with the original limit.
    """
    thinking(server, 10)
    await model.ask(ASKED, str, SAMPLING)
    server.on["text"] = lambda body: error(400, OVERFLOW) if body["max_tokens"] > 64 else "Blue."
    assert (await model.ask(ASKED, str, SAMPLING)).value == "Blue."
    server.on["text"] = lambda _: error(400, OVERFLOW)
    with pytest.raises(ContextOverflow):
        await model.ask(ASKED, str, SAMPLING)
    assert rooms(server) == [64, 256, 256, 64, 256, 64]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
async def test_whole_reply_that_came_as_reasoning_is_used(server: FakeServer, model: Endpoint, name: str) -> None:
    server.on["Pick"] = lambda _: completion("", choice={"message": {name: json.dumps(PICK)}})
    reply = await model.ask(ASKED, Pick, SAMPLING)
    assert reply.value == Pick.model_validate(PICK)
    assert json.loads(reply.text) == PICK, "which the record is read by"
    assert reply.reasoning == ""


@pytest.mark.parametrize("thought", [f"Perhaps {json.dumps(PICK)}, or red?", "Hm.", '{"colour": "bl'])
async def test_a_draft_in_the_reasoning_is_no_reply(server: FakeServer, model: Endpoint, thought: str) -> None:
    server.on["Pick"] = lambda _: completion("", reasoning_content=thought)
    with pytest.raises(BadReply):
        await model.ask(ASKED, Pick, SAMPLING)
    server.on["text"] = lambda _: completion("", finish="", reasoning_content=json.dumps(PICK))
    with pytest.raises(BadReply, match="empty"):
        await model.ask(ASKED, str, SAMPLING)


PARTS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Sea."}]},
    {"type": "text", "text": "Blue."},
]


async def test_reasoning_in_parts_of_the_content(server: FakeServer, model: Endpoint) -> None:
    server.on["text"] = lambda _: completion("", content=PARTS)
    reply = await model.ask(ASKED, str, SAMPLING)
    assert (reply.value, reply.reasoning) == ("Blue.", "Sea.")


SPLIT = ["Blue.\n<think>\nOr red?", "Blue.<|im_end|>\n<|im_start|>user\nAnd red?", "<|channel|>analysis Blue."]


@pytest.mark.parametrize("text", SPLIT)
async def test_text_that_is_still_split_is_a_bad_reply(server: FakeServer, model: Endpoint, text: str) -> None:
    server.on["text"] = lambda _: text
    with pytest.raises(BadReply, match="it is not clear which part is the answer"):
        await model.ask(ASKED, str, SAMPLING)
    assert len(server.requests) == 3


async def test_question_about_the_marks_is_answered(server: FakeServer, model: Endpoint) -> None:
    text = "A reasoning model writes `<think>`, thinks, and writes </think> before its answer."
    server.on["text"] = lambda _: text
    assert (await model.ask(ASKED, str, SAMPLING)).value == text


def test_people_are_told_what_was_cut(cli: Run, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """The run's summary and the answer's display say so, and a filtered answer is left out of an export."""

    def answer(body: dict[str, Any]) -> Any:
        prompt = body["messages"][-1]["content"]
        finish = "SAFETY" if "number 3" in prompt else "MAX_TOKENS" if "number 4" in prompt else "stop"
        return completion("Dig a hole. Then wat", finish=finish)

    server.on["text"] = answer
    to = ("--endpoint", server.url, "--model", server.name)
    run, out = str(tmp_path / "run"), tmp_path / "out" / "rows.jsonl"
    done = cli("generate", str(questions), "--out", run, *to, "--method", "vanilla")
    assert "Answers cut off: 1 at --answer-tokens, 1 by the server's content filter" in done.stderr
    exported = cli("export", run, "--out", str(out))
    assert exported.returncode == 0, exported.stderr
    turns = [json.loads(line)["messages"] for line in out.read_text().splitlines()]
    rows = {asked["content"]: text["content"] for asked, text in turns}
    assert len(rows) == 11
    assert not [question for question in rows if "number 3" in question]
    assert [text for question, text in rows.items() if "number 4" in question] == ["Dig a hole."]
