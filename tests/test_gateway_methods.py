"""The gateway's answers by a method: what a request can ask for, whole and in pieces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from matrix_align import Answer, Store
from matrix_align.web.gateway import answering

from .fake import completion, error, kind, stream
from .gateway import Served, complaint, post, serving

SMALL = {"roles": 2, "steps": 1}


@pytest.fixture
def asked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A request for a small scene, around a question that no other test asks."""
    question = f"Why is {request.node.name} so?"
    return {"model": "matrix", "messages": [{"role": "user", "content": question}], "matrix_align": SMALL}


def recorded(path: Path, id: str) -> Answer:
    with Store(path, read_only=True) as store:
        answer = store.answer(id)
    assert answer
    return answer


async def events(url: str, body: Any) -> list[dict[str, Any]]:
    """The events of a streamed completion, without the last, [DONE], which must be there unless there is an error."""
    status, data, _ = await post(url, {**body, "stream": True})
    assert status == 200, data
    lines = [line.removeprefix("data: ") for line in data.decode().split("\n\n") if line.startswith("data: ")]
    done = lines[-1] == "[DONE]"
    found: list[dict[str, Any]] = [json.loads(line) for line in lines[: len(lines) - done]]
    assert done != ("error" in found[-1])
    return found


def said(found: list[dict[str, Any]], field: str = "content") -> str:
    return "".join(c["delta"].get(field) or "" for event in found for c in event.get("choices", []))


async def test_matrix_answers_in_openais_form(served: Served, asked: dict[str, Any], path: Path) -> None:
    status, body, headers = await post(served.url, asked)
    assert status == 200, body
    whole = json.loads(body)
    answer = recorded(served.path, headers["X-Matrix-Align-Scene"])
    assert whole["object"] == "chat.completion" and whole["model"] == "matrix"
    [choice] = whole["choices"]
    assert choice["message"]["content"] == answer.text and choice["finish_reason"] == "stop"
    assert answer.scene["settings"]["roles"] == 2
    assert answer.scene["events"][0]["action"] in choice["message"]["reasoning_content"]
    assert whole["usage"]["total_tokens"] == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert headers["X-Matrix-Align-Calls"] == str(len(answer.calls)) == str(len(served.server.requests))
    assert headers["X-Matrix-Align-Tokens"] == str(whole["usage"]["total_tokens"])
    assert float(headers["X-Matrix-Align-Seconds"]) > 0
    assert headers["X-Matrix-Align-Stage"] == f"/scenes/{answer.id}"


async def test_stream_is_the_same_answer(served: Served, asked: dict[str, Any], path: Path) -> None:
    """The same text, calls, and account; the record can't tell them apart."""
    served.server.on["text"] = lambda body: "Ask her, then decide." if "First ask." in str(body) else "First ask."
    whole = json.loads((await post(served.url, asked))[1])
    one = recorded(served.path, whole["id"].removeprefix("chatcmpl-"))
    with serving(served.server, path) as other:
        found = await events(other.url, {**asked, "stream_options": {"include_usage": True}})
    two = recorded(path, found[0]["id"].removeprefix("chatcmpl-"))
    assert said(found) == whole["choices"][0]["message"]["content"] == "Ask her, then decide."
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert found[-2]["matrix_align"]["calls"] == len(two.calls)
    assert found[-1]["choices"] == [] and found[-1]["usage"] == whole["usage"]
    assert one.id == two.id and one.text == two.text
    assert [(call.kind, call.depth, call.cut) for call in one.calls] == [
        (call.kind, call.depth, call.cut) for call in two.calls
    ]
    assert one.usage.prompt_tokens == two.usage.prompt_tokens


async def test_the_answer_arrives_as_the_model_writes_it(served: Served, asked: dict[str, Any]) -> None:
    """The client has the first words while the model has not written the last one; before, it has the scene."""
    seen = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def words() -> AsyncIterator[str]:
        yield "Talk"
        yield "first."
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(seen.wait(), loop))
        yield "Then act."

    served.server.on["text"] = lambda body: (
        (lambda request: stream(request, words())) if body.get("stream") else "It depends."
    )
    got = ""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{served.url}/v1/chat/completions", json={**asked, "stream": True}) as response,
    ):
        assert response.headers["X-Matrix-Align-Scene"]
        reasoned = ""
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            for choice in json.loads(line[6:])["choices"]:
                reasoned += choice["delta"].get("reasoning_content", "")
                got += choice["delta"].get("content", "")
            if got == "Talk first.":
                assert "To change:" in reasoned
                seen.set()
    assert got == "Talk first. Then act."


async def test_leak_is_never_sent(served: Served, asked: dict[str, Any]) -> None:
    """What could become a mention of how the answer was made waits; if it becomes one, the answer is written again."""
    texts = iter(["The revised answer is this.", "The sky is blue."])
    served.server.on["text"] = lambda body: next(texts) if body.get("stream") else "It depends."
    found = await events(served.url, asked)
    assert said(found) == "The sky is blue."


async def test_answer_that_changes_after_it_was_sent_ends_in_an_error(served: Served, asked: dict[str, Any]) -> None:
    """Two answers are never mixed. The client is told to ask again, and then gets the one in the record."""
    texts = iter(["The sky is blue, as the critique says.", "Blue it is."])
    served.server.on["text"] = lambda body: next(texts) if body.get("stream") else "It depends."
    found = await events(served.url, asked)
    assert said(found) == "The sky is blue, as"
    assert found[-1]["error"]["code"] == "answer_changed"
    before = len(served.server.requests)
    assert said(await events(served.url, asked)) == "Blue it is."
    assert len(served.server.requests) == before, "all of it is in the record"


async def test_broken_stream_goes_on_where_it_was(served: Served, asked: dict[str, Any]) -> None:
    """The same seed writes the same text again, so the client notices nothing."""
    attempts: list[int] = []

    def words(body: dict[str, Any]) -> Any:
        if not body.get("stream"):
            return "It depends."
        attempts.append(1)
        return "It is blue today." if len(attempts) > 1 else (lambda request: stream(request, ["It", "is"], None))

    served.server.on["text"] = words
    assert said(await events(served.url, asked)) == "It is blue today."
    assert len(attempts) == 2


async def test_server_that_does_not_stream(served: Served, asked: dict[str, Any]) -> None:
    """It refuses the field, or ignores it: the text comes at once."""
    served.server.refuses = ("stream",)
    assert said(await events(served.url, asked)) == "It depends. Ask first."
    served.server.refuses = ()
    served.server.on["text"] = lambda body: completion("Another answer.")
    assert said(await events(served.url, {**asked, "seed": 2})) == "Another answer."


@pytest.mark.parametrize("method", ["vanilla", "self_refine", "best_of_n", "think_first"])
async def test_every_method_streams_its_answer(served: Served, asked: dict[str, Any], method: str) -> None:
    """Those that know only afterwards which text is the answer send it at once."""
    body = {**asked, "model": method, "matrix_align": {}}
    whole = json.loads((await post(served.url, body))[1])["choices"][0]["message"]["content"]
    assert said(await events(served.url, {**body, "seed": 1})) == whole == "It depends. Ask first."


async def test_null_options_are_not_given(served: Served, asked: dict[str, Any]) -> None:
    body = {**asked, "matrix_align": None}
    assert (await post(served.url, {**body, "model": "fake-model"}))[0] == 200
    assert served.server.requests == [{"model": "fake-model", "messages": asked["messages"]}]
    assert "X-Matrix-Align-Scene" in (await post(served.url, {**body, "model": "vanilla"}))[2]


async def test_method_by_option(served: Served, asked: dict[str, Any]) -> None:
    body = {**asked, "model": "fake-model", "matrix_align": {"method": "vanilla"}}
    status, said, headers = await post(served.url, body)
    assert status == 200 and json.loads(said)["model"] == "vanilla"
    assert headers["X-Matrix-Align-Calls"] == "1"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"matrix_align": {"rolls": 2}}, "matrix_align.rolls"),
        ({"matrix_align": {"rounds": 2}}, "matrix_align.rounds"),
        ({"matrix_align": {"roles": 0}}, "matrix_align.roles"),
        ({"matrix_align": {"roles": "many"}}, "matrix_align.roles"),
        ({"matrix_align": {"simulate": "sometimes"}}, "matrix_align.simulate"),
        ({"matrix_align": {"method": "magic"}}, "matrix_align.method"),
        ({"matrix_align": {"method": "vanilla"}}, "matrix_align.method"),
        ({"matrix_align": {"seed": -1}}, "matrix_align.seed"),
        ({"matrix_align": []}, "matrix_align"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": ["Why?", {"type": "text", "text": "Say."}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}, None]}]}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        ({"messages": [{"role": "system", "content": "Be kind."}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [""]}, "stop.0"),
    ],
    ids=str,
)
async def test_unusable_request_is_400(served: Served, asked: dict[str, Any], changes: Any, param: str) -> None:
    status, body, _ = await post(served.url, {**asked, **changes})
    assert status == 400
    assert complaint(body)["param"] == param
    assert not served.server.requests


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"matrix_align": []}, "matrix_align should be an object in braces (got a list)"),
        ({"matrix_align": {"roles": 99}}, "matrix_align.roles should be at most 20 (got 99)"),
        ({"matrix_align": {"roles": 2.5}}, "matrix_align.roles should be a whole number (got 2.5)"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages: the question is empty; write"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role is 'robot'; wanted system"),
        ({"model": "rain", "matrix_align": {"rounds": "x"}}, 'rounds should be a whole number (got "x")'),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop should have at most 4 items, not 5"),
        ({"temperature": 3}, "temperature should be at most 2 (got 3)"),
        ({"matrix_align": {"method": "magic"}}, "outcome_preference (got magic)"),
        ({"model": "matrx"}, "did you mean matrix?"),
    ],
    ids=str,
)  # fmt: skip
async def test_what_was_wrong_is_said_in_plain_words(
    served: Served, asked: dict[str, Any], changes: Any, words: str
) -> None:
    assert words in complaint((await post(served.url, {**asked, **changes}))[1])["message"]


async def test_chat_with_history_system_prompt_and_parts(served: Served, asked: dict[str, Any], path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello to you"},
        {"role": "user", "content": [{"type": "text", "text": "Why"}, {"type": "text", "text": "so?"}]},
    ]
    _, _, headers = await post(served.url, {**asked, "messages": messages})
    question = recorded(served.path, headers["X-Matrix-Align-Scene"]).question
    assert question.system == "Be kind.\n\nBe short."
    assert [turn.content for turn in question.history] == ["Hello", "Hello to you"]
    assert question.text == "Why\nso?"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "image_url",
        ),
        (
            {"messages": [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": "Be"}]},
            "a last message of the assistant's",
        ),
    ],
    ids=str,
)
async def test_what_no_method_can_take_goes_to_the_model_alone(
    served: Served, asked: dict[str, Any], changes: Any, why: str
) -> None:
    served.server.faults.append(lambda _: completion("Alone."))
    status, body, headers = await post(served.url, {**asked, **changes, "x_new": 1})
    assert (status, headers["X-Matrix-Align-Bypass"]) == (200, why)
    assert json.loads(body)["choices"][0]["message"]["content"] == "Alone."
    rest = {name: value for name, value in {**asked, **changes}.items() if name != "matrix_align"}
    assert served.server.requests == [{**rest, "x_new": 1, "model": "fake-model"}]


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"n": 2},
        {"model": "fake-model"},
        {"matrix_align": {"simulate": "never", "roles": "many"}},
    ],
    ids=str,
)
async def test_unknown_option_is_refused_whoever_answers(
    served: Served, asked: dict[str, Any], changes: dict[str, Any]
) -> None:
    own = changes.get("matrix_align", {"simulate": "never", "rolls": 3})
    status, body, _ = await post(served.url, {**asked, **changes, "matrix_align": own})
    assert (status, complaint(body)["param"].partition(".")[0]) == (400, "matrix_align")
    assert not served.server.requests


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_halves_of_characters(served: Served, asked: dict[str, Any], streamed: bool) -> None:
    """A character in two halves is put together, whichever pieces they come in. Half a one is shown as unknown."""

    def words(body: dict[str, Any]) -> Any:
        if not body.get("stream"):
            return "Look: \ud83d\ude00 or \ud83d then."
        return lambda request: stream(request, ["Look: \ud83d", "\ude00 or \ud83d", " then."], between="")

    served.server.on["text"] = words
    body = {**asked, "messages": [{"role": "user", "content": f"What of {streamed} \ud83d?"}]}
    if streamed:
        assert said(await events(served.url, body)) == "Look: \U0001f600 or \ufffd then."
    else:
        whole = json.loads((await post(served.url, body))[1])
        assert whole["choices"][0]["message"]["content"] == "Look: \U0001f600 or \ufffd then."


async def test_simulate_never(served: Served, asked: dict[str, Any]) -> None:
    _, _, headers = await post(served.url, {**asked, "matrix_align": {"simulate": "never"}})
    assert headers["X-Matrix-Align-Simulate"] == "never"
    assert len(served.server.requests) == 1


async def test_stop_max_tokens_and_temperature(served: Served, asked: dict[str, Any], path: Path) -> None:
    served.server.on["text"] = lambda body: "One, two, END three."
    body = {**asked, "stop": ["END", "never"], "max_tokens": 77, "temperature": 0.2, "top_p": 0.5, "user": "me"}
    _, whole, headers = await post(served.url, body)
    assert json.loads(whole)["choices"][0]["message"]["content"] == "One, two, "
    assert headers["X-Matrix-Align-Ignored"] == "top_p"
    assert {r["max_tokens"] for r in served.server.requests if kind(r) == "text"} == {77}
    assert {r["temperature"] for r in served.server.requests} == {0.2}
    assert said(await events(served.url, {**body, "seed": 5})).rstrip() == "One, two,"


@pytest.mark.parametrize(("stop", "finish"), [("two", "stop"), ("four", "length")])
async def test_finish_reason_is_that_of_the_text_that_is_sent(
    served: Served, asked: dict[str, Any], stop: str, finish: str
) -> None:
    """The model was cut at its limit, perhaps after the stop at which the gateway cuts."""
    served.server.on["text"] = lambda body: completion("One, two, three", finish="length")
    body = {**asked, "model": "vanilla", "matrix_align": {}, "stop": stop}
    assert json.loads((await post(served.url, body))[1])["choices"][0]["finish_reason"] == finish
    assert (await events(served.url, {**body, "seed": 5}))[-1]["choices"][0]["finish_reason"] == finish


async def test_reasoning_can_be_left_out(served: Served, asked: dict[str, Any]) -> None:
    body = {**asked, "matrix_align": {**SMALL, "reasoning": False}}
    assert "reasoning_content" not in json.loads((await post(served.url, body))[1])["choices"][0]["message"]
    assert said(await events(served.url, body), "reasoning_content") == ""


async def test_silent_stream_is_kept_alive(
    served: Served, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though drafts come all the time, of which the client wants none."""
    monkeypatch.setattr(answering, "KEEP_ALIVE", 0.3)
    served.server.latency = 0.1
    body = {**asked, "stream": True, "matrix_align": {**SMALL, "steps": 3, "reasoning": False}}
    _, data, _ = await post(served.url, body)
    assert data.count(b": keep-alive\n\n") >= 2


@pytest.mark.parametrize(
    ("status", "expected"), [(400, 400), (401, 401), (429, 429), (503, 503), (201, 502), (999, 502)]
)
async def test_errors_have_the_upstreams_status(
    served: Served, asked: dict[str, Any], status: int, expected: int
) -> None:
    served.server.on = dict.fromkeys(["text", "Situation"], lambda body: error(status, "no more today"))
    got, body, headers = await post(served.url, asked)
    assert got == expected
    assert "no more today" in complaint(body)["message"]
    assert ("Retry-After" in headers) == (status in (429, 503, 999))
    found = await events(served.url, asked)
    assert "no more today" in found[-1]["error"]["message"]
