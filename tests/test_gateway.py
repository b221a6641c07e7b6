"""The gateway passes requests on: what is changed on the way, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from matrix_align import METHODS

from .fake import FakeServer, error
from .gateway import ASKED, Served, complaint, post, serving


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


@pytest.fixture
def fresh(path: Path, server: FakeServer) -> Iterator[Served]:
    """A gateway that has not asked for the list of models yet."""
    with serving(server, path) as gateway:
        yield gateway


async def test_models_are_the_upstreams_and_the_methods(fresh: Served) -> None:
    fresh.server.listed = {"data": [{"id": "fake-model", "owned_by": "me"}, {"id": "tuned", "max_model_len": 4096}]}
    async with aiohttp.ClientSession() as session, session.get(f"{fresh.url}/v1/models") as response:
        listed = await response.json()
    models = {model["id"]: model for model in listed["data"]}
    assert listed["object"] == "list"
    assert list(models) == ["fake-model", "tuned", *METHODS]
    assert all({"id", "object", "created", "owned_by"} <= model.keys() for model in listed["data"])
    assert models["fake-model"]["owned_by"] == "me" and models["tuned"]["max_model_len"] == 4096


async def test_another_model_of_the_upstreams_is_passed_on(fresh: Served) -> None:
    fresh.server.listed = {"data": [{"id": "fake-model"}, {"id": "tuned"}]}
    assert (await post(fresh.url, {**ASKED, "model": "tuned"}))[0] == 200
    assert fresh.server.requests[-1]["model"] == "tuned"


async def test_model_has_a_second_name(path: Path, server: FakeServer) -> None:
    """A built-in model is called by the name that --model takes, as well as by its file's."""
    with serving(server, path, alias="tiny") as served:
        for more in ({}, {"matrix_align": {"simulate": "never"}}, {"matrix_align": {"method": "vanilla"}}):
            assert (await post(served.url, {**ASKED, "model": "tiny", **more}))[0] == 200
        assert [body["model"] for body in server.requests] == ["fake-model"] * 3
        listed = json.loads((await get(f"{served.url}/v1/models"))[1])["data"]
        assert [model["id"] for model in listed][:2] == ["fake-model", "tiny"]
        assert (await get(f"{served.url}/v1/models/tiny"))[0] == 200


async def test_tuned_model_is_known_to_all_who_ask_at_once(fresh: Served) -> None:
    """Those who come while the list of models is being fetched wait for it."""
    fresh.server.listed = {"data": [{"id": "fake-model"}, {"id": "tuned"}]}
    fresh.server.latency = 0.2
    done = await asyncio.gather(*(post(fresh.url, {**ASKED, "model": "tuned"}) for _ in range(5)))
    assert [status for status, _, _ in done] == [200] * 5


async def test_name_is_not_called_wrong_while_nobody_can_say(fresh: Served) -> None:
    """The upstream's list can't be had: a name that may be right gets that error."""
    fresh.server.listed = lambda: error(503, "loading")
    status, body, _ = await post(fresh.url, {**ASKED, "model": "tuned"})
    assert status == 503 and "loading" in complaint(body)["message"]
    assert (await post(fresh.url, ASKED))[0] == 200, "the name that it was started with needs no list"


async def get(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as response:
        return response.status, await response.read()


async def test_one_model_by_its_name(fresh: Served) -> None:
    fresh.server.listed = {"data": [{"id": "fake-model"}, {"id": "org/tuned-7b", "max_model_len": 4096}]}
    tuned = {"object": "model", "created": 0, "owned_by": "upstream", "id": "org/tuned-7b", "max_model_len": 4096}
    for name in ("org/tuned-7b", "org%2Ftuned-7b"):
        status, body = await get(f"{fresh.url}/v1/models/{name}")
        assert (status, json.loads(body)) == (200, tuned)
    assert json.loads((await get(f"{fresh.url}/v1/models/matrix"))[1])["owned_by"] == "matrix-align"
    status, body = await get(f"{fresh.url}/v1/models/nope")
    assert (status, complaint(body)["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/embeddings", 404),
        ("POST", "/chat/completions", 404),
        ("DELETE", "/v1/models", 405),
        ("POST", "/metrics", 405),
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/static/nothing.js", 404),
    ],
)
async def test_what_is_not_served_is_said_in_openais_form(served: Served, method: str, path: str, status: int) -> None:
    got, body = await get(f"{served.url}{path}", method)
    assert got == status
    assert complaint(body)["type"] == ("not_found_error" if status == 404 else "invalid_request_error")


async def test_browser_gets_a_page_but_of_the_api(served: Served) -> None:
    status, body = await get(f"{served.url}/nowhere", Accept="text/html,*/*")
    assert status == 404 and b"<h1>" in body
    status, body = await get(f"{served.url}/v1/embeddings", Accept="text/html,*/*")
    assert status == 404 and complaint(body)


async def test_fault_of_ours_is_said_in_openais_form(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word about what it is."""
    monkeypatch.setattr(served.gateway, "models", lambda: 1 / 0)
    status, body = await get(f"{served.url}/v1/models")
    assert (status, complaint(body)["type"]) == (500, "server_error")
    status, body, _ = await post(served.url, {**ASKED, "model": "unknown"})
    assert (status, complaint(body)["type"]) == (500, "server_error")
    assert b"zero" not in body


KEY = "sk-secret/0123456789abcdef"


@pytest.mark.parametrize("status", [401, 200])
async def test_key_of_the_upstream_never_leaves(path: Path, server: FakeServer, status: int) -> None:
    """Not in an error's text or header, and not in a stream whose pieces hold a half of it each."""
    quoted = f'data: {{"error": {{"message": "no such key: {KEY}, {KEY[:9]}"}}}}\n\n'.encode()

    async def quotes(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": "text/event-stream", "X-Key": request.headers["Authorization"]}
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        for half in (quoted[:45], quoted[45:60], quoted[60:], json.dumps(KEY).replace("/", "\\/").encode(), b"sk-se"):
            await response.write(half)
            await asyncio.sleep(0.05)
        return response

    server.key = KEY
    with serving(server, path, key=KEY) as served:
        server.faults = [quotes]
        got, body, headers = await post(served.url, ASKED)
    stars = b"*" * len(KEY)
    assert (got, headers["X-Key"]) == (status, f"Bearer {stars.decode()}")
    assert body == quoted.replace(KEY.encode(), stars) + b'"*' + stars + b'"sk-se'


@pytest.mark.parametrize(("status", "word"), [(200, "none"), (401, "****")])
async def test_key_that_is_a_word_stays_in_answers(path: Path, server: FakeServer, status: int, word: str) -> None:
    """Servers that want no key are given one like this."""
    with serving(server, path, key="none") as served:
        server.faults = [lambda _: error(status, "none")]
        assert json.loads((await post(served.url, ASKED))[1])["error"]["message"] == word


async def test_lone_surrogate_passes_unchanged(served: Served) -> None:
    """JSON can hold half of a character, and texts cut at a number of characters do."""
    sent = b'{"model": "fake-model", "messages": [{"role": "user", "content": "\\ud83d"}]}'
    assert (await post(served.url, sent))[0] == 200
    assert served.server.requests[-1]["messages"][0]["content"] == "\ud83d"
    for bad in (b'{"model": "\\ud83d"}', b'{"model": "matrix", "matrix_align": {"\\ud83d": 1}}', b"[" * 100_000):
        status, body, _ = await post(served.url, bad)
        assert status in (400, 404) and complaint(body)


@pytest.mark.parametrize("model", ["nope", "", "Matrix"])
async def test_wrong_model_is_404(served: Served, model: Any) -> None:
    status, body, _ = await post(served.url, {**ASKED, "model": model})
    assert status == 404
    assert complaint(body)["code"] == "model_not_found"
    assert not served.server.requests


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'"model"', b'{"messages": []}', b'{"model": 7}'])
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
