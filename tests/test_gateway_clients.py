"""Official clients work with the gateway unchanged."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from typing import Any

import pytest

from .conftest import HANG
from .fake import error
from .gateway import Served

openai = pytest.importorskip("openai")
MESSAGES: Any = [{"role": "user", "content": "Is it so?"}]
OWN = {"matrix_align": {"roles": 2, "steps": 1}}


def test_openai_python(served: Served) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        assert "matrix" in [model.id for model in client.models.list()]
        plain = client.chat.completions.create(model="fake-model", messages=MESSAGES)
        assert plain.choices[0].message.content == "It depends. Ask first."
        raw = client.chat.completions.with_raw_response.create(model="matrix", messages=MESSAGES, extra_body=OWN)
        assert raw.headers["x-matrix-align-scene"] in raw.parse().id
        stream = client.chat.completions.create(model="matrix", messages=MESSAGES, extra_body=OWN, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "It depends. Ask first."
        with pytest.raises(openai.NotFoundError, match="no model"):
            client.chat.completions.create(model="nope", messages=MESSAGES)
        with pytest.raises(openai.BadRequestError, match="rolls"):
            client.chat.completions.create(model="matrix", messages=MESSAGES, extra_body={"matrix_align": {"rolls": 1}})
        served.server.on["Situation"] = lambda _: error(400, "not today")
        with pytest.raises(openai.APIError, match="not today"):
            list(client.chat.completions.create(model="matrix", messages=MESSAGES, seed=3, stream=True))


async def test_openai_python_async(served: Served) -> None:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        whole = await client.chat.completions.create(model="vanilla", messages=MESSAGES)
        assert whole.choices[0].message.content == "It depends. Ask first."
        for model in ("fake-model", "matrix"):
            stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            assert "".join(pieces) == "It depends. Ask first."


NODE = """
const { default: OpenAI } = await import("openai");
const client = new OpenAI({ baseURL: process.argv[1] + "/v1", apiKey: "none", maxRetries: 0 });
const asked = { model: "vanilla", messages: [{ role: "user", content: "Is it so?" }] };
const whole = await client.chat.completions.create(asked);
let text = "";
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true }))
  text += chunk.choices[0]?.delta?.content ?? "";
console.log(JSON.stringify([whole.choices[0].message.content, text]));
"""


async def test_openai_node(served: Served) -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    command = [node, "--input-type=module", "-e", NODE, served.url]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=HANG)
    if "Cannot find package 'openai'" in done.stderr:
        pytest.skip("the npm package openai is not installed")
    assert json.loads(done.stdout) == ["It depends. Ask first."] * 2, done.stderr


async def test_langchain(served: Served) -> None:
    langchain = pytest.importorskip("langchain_openai")
    model = langchain.ChatOpenAI(base_url=f"{served.url}/v1", api_key="none", model="matrix", extra_body=OWN)
    assert (await model.ainvoke("Is it so?")).content == "It depends. Ask first."
    assert "".join([piece.content async for piece in model.astream("Is it so?")]) == "It depends. Ask first."
