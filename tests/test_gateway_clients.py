"""Clients that others wrote work with the gateway unchanged: openai in Python and JavaScript, and LangChain.

Each asks for answers whole and streamed, for tools, for the scene as reasoning, and for what is refused.
"""

from __future__ import annotations

import asyncio
import functools
import json
import operator
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from .conftest import HANG
from .fake import completion, error, stream_of
from .gateway import Served

openai = pytest.importorskip("openai")
NODE_PACKAGES = Path(sys.prefix) / "node"  # `.ci/run` installs it there
SAID = "It depends. Ask first."
FAILS = "What fails?"
MESSAGES: Any = [{"role": "user", "content": "Is it so?"}]
OWN: Any = {"matrix_align": {"roles": 2, "steps": 1}}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks a word up.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}
ARGUMENTS = '{"word": "so"}'


def _calls_a_tool(body: dict[str, Any]) -> Any:
    """The model's reply: a call if there are tools, in three pieces if it streams; otherwise a sentence."""
    if not body.get("tools"):
        return SAID
    call = {"id": "call-1", "type": "function", "function": {"name": "look_up", "arguments": ARGUMENTS}}
    if not body.get("stream"):
        return completion("", "tool_calls", tool_calls=[call])
    begun = call | {"index": 0, "function": {"name": "look_up", "arguments": ""}}
    parts = [{"index": 0, "function": {"arguments": part}} for part in (ARGUMENTS[:7], ARGUMENTS[7:])]
    deltas: list[Any] = [
        {"role": "assistant", "content": None, "tool_calls": [begun]},
        *({"tool_calls": [part]} for part in parts),
    ]

    async def write(request: web.Request) -> web.StreamResponse:
        return await stream_of(request, deltas, "tool_calls")

    return write


@pytest.fixture
def upstream(served: Served) -> Served:
    """The gateway in front of a model that calls tools, and that refuses a scene of the question `FAILS`."""
    server = served.server
    server.on["text"] = _calls_a_tool
    server.on["Situation"] = lambda body: error(400, "not today") if FAILS in str(body) else server.default(body)
    return served


def _got_the_tool(served: Served, times: int) -> bool:
    return [body["tools"] for body in served.server.requests if "tools" in body] == [[TOOL]] * times


def test_openai_python(upstream: Served) -> None:
    with openai.OpenAI(base_url=f"{upstream.url}/v1", api_key="none", max_retries=0) as client:
        ask = client.chat.completions.create
        assert {"matrix", "fake-model"} <= {model.id for model in client.models.list()}
        assert ask(model="fake-model", messages=MESSAGES).choices[0].message.content == SAID
        raw = client.chat.completions.with_raw_response.create(model="matrix", messages=MESSAGES, extra_body=OWN)
        whole = raw.parse()
        assert raw.headers["x-matrix-align-scene"] in whole.id and whole.choices[0].message.content == SAID
        for model, own in (("fake-model", None), ("matrix", OWN)):
            deltas: list[Any] = [
                chunk.choices[0].delta
                for chunk in ask(model=model, messages=MESSAGES, extra_body=own, stream=True)
                if chunk.choices
            ]
            assert "".join(delta.content or "" for delta in deltas) == SAID
            reasoning = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
            assert reasoning == (whole.choices[0].message.reasoning_content if own else "")
        with pytest.raises(openai.NotFoundError, match="no model"):
            ask(model="nope", messages=MESSAGES)
        with pytest.raises(openai.BadRequestError, match="rolls"):
            ask(model="matrix", messages=MESSAGES, extra_body={"matrix_align": {"rolls": 1}})
        with pytest.raises(openai.APIError, match="not today"):
            list(ask(model="matrix", messages=[{"role": "user", "content": FAILS}], extra_body=OWN, stream=True))


def test_openai_python_tools(upstream: Served) -> None:
    with openai.OpenAI(base_url=f"{upstream.url}/v1", api_key="none", max_retries=0) as client:
        asked: Any = {"model": "matrix", "messages": MESSAGES, "tools": [TOOL]}
        raw = client.chat.completions.with_raw_response.create(**asked)
        assert raw.headers["x-matrix-align-bypass"] == "tools"
        said: list[Any] = [raw.parse().choices[0].message]
        with client.chat.completions.stream(**asked) as stream:
            said.append(stream.get_final_completion().choices[0].message)
    for (call,) in [message.tool_calls for message in said]:
        assert (call.id, call.function.name, call.function.arguments) == ("call-1", "look_up", ARGUMENTS)
    assert _got_the_tool(upstream, 2)


async def test_openai_python_async(upstream: Served) -> None:
    async with openai.AsyncOpenAI(base_url=f"{upstream.url}/v1", api_key="none", max_retries=0) as client:
        whole = await client.chat.completions.create(model="vanilla", messages=MESSAGES)
        assert whole.choices[0].message.content == SAID
        for model in ("fake-model", "vanilla", "matrix"):
            stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]) == SAID


# Prints what came back, by name. It is given the address, a tool and the question that fails.
NODE = """
const { default: OpenAI } = await import("openai");
const [url, tool, fails] = process.argv.slice(1);
const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none", maxRetries: 0 });
const asked = { messages: [{ role: "user", content: "Is it so?" }], matrix_align: { roles: 2, steps: 1 } };
const ask = (more) => client.chat.completions.create({ ...asked, ...more });
const refused = async (more) => {
  try { for await (const _ of await ask(more)); } catch (error) { return [error.constructor.name, error.message]; }
};
const got = { models: (await client.models.list()).data.map((model) => model.id) };
const whole = await ask({ model: "matrix" });
got.whole = [whole.choices[0].message.content, whole.choices[0].message.reasoning_content];
got.streamed = ["", ""];
for await (const chunk of await ask({ model: "matrix", stream: true })) {
  got.streamed[0] += chunk.choices[0]?.delta?.content ?? "";
  got.streamed[1] += chunk.choices[0]?.delta?.reasoning_content ?? "";
}
got.passed = "";
for await (const chunk of await ask({ model: "fake-model", stream: true, matrix_align: undefined }))
  got.passed += chunk.choices[0]?.delta?.content ?? "";
const tools = { model: "matrix", tools: [JSON.parse(tool)] };
const streamed = await client.chat.completions.stream({ ...asked, ...tools }).finalChatCompletion();
got.tools = [await ask(tools), streamed].map((one) => one.choices[0].message.tool_calls[0].function.arguments);
got.unknown = await refused({ model: "nope" });
got.option = await refused({ model: "matrix", matrix_align: { rolls: 1 } });
got.broken = await refused({ model: "matrix", stream: true, messages: [{ role: "user", content: fails }] });
console.log(JSON.stringify(got));
"""


async def test_openai_node(upstream: Served) -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    if not (NODE_PACKAGES / "node_modules" / "openai").exists():
        pytest.skip(f"the npm package openai is not installed in {NODE_PACKAGES}")
    command = [node, "--input-type=module", "-e", NODE, upstream.url, json.dumps(TOOL), FAILS]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=NODE_PACKAGES, capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    got = json.loads(done.stdout)
    assert {"matrix", "fake-model"} <= set(got["models"])
    assert got["whole"] == got["streamed"] and got["whole"][0] == got["passed"] == SAID and got["whole"][1]
    assert got["tools"] == [ARGUMENTS] * 2 and _got_the_tool(upstream, 2)
    for what, kind, words in (
        ("unknown", "NotFoundError", "no model"),
        ("option", "BadRequestError", "rolls"),
        ("broken", "APIError", "not today"),
    ):
        assert got[what][0] == kind and words in got[what][1]


async def test_langchain(upstream: Served) -> None:
    langchain = pytest.importorskip("langchain_openai")
    import httpx

    with httpx.Client() as here:
        async with httpx.AsyncClient() as there:
            given: Any = {"base_url": f"{upstream.url}/v1", "api_key": "none", "max_retries": 0}
            given |= {"http_client": here, "http_async_client": there}
            model = langchain.ChatOpenAI(model="matrix", extra_body=OWN, **given)
            whole = [model.invoke("Is it so?"), await model.ainvoke("Is it so?")]
            pieces = [list(model.stream("Is it so?")), [piece async for piece in model.astream("Is it so?")]]
            assert {one.content for one in [*whole, *map(_joined, pieces)]} == {SAID}
            tooled = model.bind_tools([TOOL])
            for one in (tooled.invoke("Is it so?"), _joined([piece async for piece in tooled.astream("Is it so?")])):
                assert [(call["name"], call["args"]) for call in one.tool_calls] == [("look_up", {"word": "so"})]
            with pytest.raises(openai.NotFoundError, match="no model"):
                langchain.ChatOpenAI(model="nope", **given).invoke("Is it so?")
            with pytest.raises(openai.APIError, match="not today"):
                list(model.stream(FAILS))
    assert _got_the_tool(upstream, 2)


def _joined(pieces: list[Any]) -> Any:
    """LangChain's pieces of a message as one."""
    return functools.reduce(operator.add, pieces)
