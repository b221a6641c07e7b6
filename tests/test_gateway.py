"""The gateway passes requests on: what is changed on the way, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from matrix_align import METHODS

from .fake import error
from .gateway import Served, complaint, post, serving

ASKED = {"model": "fake-model", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}


async def test_body_passes_unchanged_both_ways(served: Served) -> None:
    """Even its spaces, and fields that nobody knows."""
    sent = b'{"model":  "fake-model", "messages": [{"role": "user", "content": "Hi"}],\n "n": 2, "x_new": {"a": [1.0]}}'
    answered = b'{"object":"chat.completion",  "unknown": [1, 2.50], "choices": []}\n'
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((await request.read(), request.headers))
        headers = {"X-Request-Id": "abc", "X-RateLimit-Remaining-Requests": "7", "Set-Cookie": "a=b"}
        return web.Response(body=answered, content_type="application/json", headers=headers)

    served.server.faults.append(answer)
    status, body, headers = await post(served.url, sent, Authorization="Bearer mine", Cookie="c=d")
    assert (status, body) == (200, answered)
    assert seen[0][0] == sent
    assert headers["X-Request-Id"] == "abc" and headers["X-RateLimit-Remaining-Requests"] == "7"
    assert "Set-Cookie" not in headers
    assert not {"Authorization", "Cookie"} & seen[0][1].keys(), "the client's key is not the upstream's"


async def test_stream_passes_as_it_comes(served: Served) -> None:
    """The first event arrives while the server has not written the second one."""
    import asyncio

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"n": 1}\n\n')
        while not seen:  # noqa: ASYNC110 - the test runs in another loop
            await asyncio.sleep(0.01)
        await response.write(b"data: [DONE]\n\n")
        return response

    seen: list[bytes] = []
    served.server.faults.append(stream)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{served.url}/v1/chat/completions", json={**ASKED, "stream": True}) as response,
    ):
        assert response.headers["Content-Type"] == "text/event-stream"
        seen.append(await response.content.readany())
        assert seen == [b'data: {"n": 1}\n\n']
        assert await response.content.read() == b"data: [DONE]\n\n"


async def test_models_are_the_upstreams_and_the_methods(served: Served) -> None:
    served.server.listed = {"data": [{"id": "fake-model", "owned_by": "me"}, {"id": "tuned", "max_model_len": 4096}]}
    async with aiohttp.ClientSession() as session, session.get(f"{served.url}/v1/models") as response:
        listed = await response.json()
    models = {model["id"]: model for model in listed["data"]}
    assert listed["object"] == "list"
    assert list(models) == ["fake-model", "tuned", *METHODS]
    assert all({"id", "object", "created", "owned_by"} <= model.keys() for model in listed["data"])
    assert models["fake-model"]["owned_by"] == "me" and models["tuned"]["max_model_len"] == 4096


async def test_another_model_of_the_upstreams_is_passed_on(served: Served) -> None:
    served.server.listed = {"data": [{"id": "fake-model"}, {"id": "tuned"}]}
    assert (await post(served.url, {**ASKED, "model": "tuned"}))[0] == 200
    assert served.server.requests[-1]["model"] == "tuned"


@pytest.mark.parametrize("model", ["nope", "", None, 7, "Matrix"])
async def test_wrong_model_is_404(served: Served, model: Any) -> None:
    status, body, _ = await post(served.url, {**ASKED, "model": model})
    assert status == 404
    assert complaint(body)["code"] == "model_not_found"
    assert not served.server.requests


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'"model"'])
async def test_unusable_body_is_400(served: Served, body: bytes) -> None:
    status, said, _ = await post(served.url, body)
    assert status == 400
    assert complaint(said)["type"] == "invalid_request_error"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503, 529])
async def test_errors_of_the_upstream_pass_as_they_are(served: Served, status: int) -> None:
    served.server.faults.append(lambda _: error(status, "as the server said", **{"Retry-After": "7"}))
    got, body, headers = await post(served.url, ASKED)
    assert (got, json.loads(body)) == (status, {"error": {"message": "as the server said"}})
    assert headers["Retry-After"] == "7"


async def test_upstream_that_is_away_is_502(path: Path) -> None:
    from .fake import fake_server

    with fake_server() as server:
        away = serving(server, path)
        served = away.__enter__()
    try:
        status, body, _ = await post(served.url, ASKED)
        assert (status, complaint(body)["code"]) == (502, "upstream_unreachable")
    finally:
        away.__exit__(None, None, None)
