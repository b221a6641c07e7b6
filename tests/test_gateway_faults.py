"""The gateway under clients and servers that misbehave: nobody else is harmed, and no call goes on for nobody."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from matrix_align.web import server as http_server
from matrix_align.web.gateway import Limits

from .conftest import HANG, Run, started
from .conftest import complaint as one_line
from .fake import FakeServer, drop, drop_mid_body, error, stream
from .gateway import Served, complaint, post, serving

ASKED = {"model": "fake-model", "messages": [{"role": "user", "content": "Hi"}]}
SCENE = {"model": "matrix", "messages": [{"role": "user", "content": "Why?"}], "matrix_align": {"roles": 2, "steps": 1}}


async def left(request: web.Request) -> web.Response:
    """Answers nothing, and returns once the gateway has hung up."""
    while request.transport and not request.transport.is_closing():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.02)
    return error(500, "nobody reads this")


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it becomes true in another thread
            await asyncio.sleep(0.02)


async def test_two_hundred_clients_and_a_server_with_every_fault(served: Served) -> None:
    """Each client gets an answer or one clear error. In the end no call is running."""

    async def garbage(request: web.Request) -> web.Response:
        return web.Response(body=b"\x00<html>", content_type="text/html")

    async def slow(request: web.Request) -> None:
        await asyncio.sleep(0.3)

    faults: list[Any] = [
        lambda _: error(429, "later"),
        lambda _: error(500, "broken"),
        slow,
        drop,
        drop_mid_body,
        garbage,
    ]
    faults.append(lambda request: stream(request, ["half"], finish=None))
    served.server.faults = [faults[place % len(faults)] for place in range(140)]
    broken = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client(place: int) -> None:
            nonlocal broken
            url = f"{served.url}/v1/chat/completions"
            try:
                async with session.post(url, json={**ASKED, "stream": place % 2 == 0}) as response:
                    body = await response.read()
                    assert response.status in (200, 429, 500, 502), body
                    if response.status == 502:
                        complaint(body)
            except aiohttp.ClientPayloadError:  # the server broke off in the middle of a body that is no stream
                broken += 1

        async with asyncio.timeout(HANG):
            await asyncio.gather(*map(client, range(200)))
    assert broken <= 40
    assert served.gateway.in_flight == 0 and served.server._busy == 0


@pytest.mark.parametrize("body", [ASKED, SCENE, {**SCENE, "stream": True}], ids=["passed", "scene", "streamed"])
async def test_client_that_hangs_up_cancels_its_calls(served: Served, body: Any) -> None:
    served.server.faults = [left] * 2
    async with aiohttp.ClientSession() as session:
        task = asyncio.create_task(session.post(f"{served.url}/v1/chat/completions", json={**body, "seed": 9}))
        await until(lambda: len(served.server.requests) == (1 if body is ASKED else 2))
        task.cancel()
        with suppress(asyncio.CancelledError):
            (await task).close()
    await until(lambda: served.gateway.in_flight == 0 and served.server._busy == 0)
    assert served.gateway.playing == 0


async def test_beyond_what_it_can_take_is_429(path: Path, server: FakeServer) -> None:
    server.latency = 0.2
    with serving(server, path, Limits(scenes=1, waiting=1)) as served:
        bodies = [{**SCENE, "seed": seed} for seed in range(8)]
        done = await asyncio.gather(*(post(served.url, body) for body in bodies))
        refused = [(body, headers) for status, body, headers in done if status == 429]
        assert refused and any(status == 200 for status, _, _ in done)
        for body, headers in refused:
            assert complaint(body)["type"] == "rate_limit_error" and int(headers["Retry-After"]) > 0


async def test_broken_stream_ends_in_an_error(served: Served) -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        response = await stream(request, ["half"], finish=None)
        assert request.transport
        request.transport.abort()
        return response

    served.server.faults = [breaks]
    status, body, _ = await post(served.url, {**ASKED, "stream": True})
    assert status == 200
    assert json.loads(body.decode().strip().split("\n\n")[-1].removeprefix("data: "))["error"]["message"]


@pytest.mark.parametrize("length", [True, False], ids=["announced", "in pieces"])
async def test_body_that_is_too_large(path: Path, server: FakeServer, length: bool) -> None:
    """It is refused before it is read, or as soon as it is too long. Others are answered meanwhile."""
    with serving(server, path, Limits(body=100_000)) as served:
        where = served.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(where[0], int(where[1]))
        how = "Content-Length: 104857600" if length else "Transfer-Encoding: chunked"
        writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{how}\r\n\r\n".encode())
        with suppress(ConnectionError):
            for _ in range(0 if length else 20):
                writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                await writer.drain()
            assert b" 413 " in await reader.readline()
        writer.close()
        assert (await post(served.url, ASKED))[0] == 200
        assert len(server.requests) == 1


async def test_slow_clients_are_cut_off(path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never ends its head, and one that never ends its body. Others are answered meanwhile."""
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.5)
    with serving(server, path, Limits(body_seconds=0.5)) as served:
        where = served.url.removeprefix("http://").split(":")
        head, head_writer = await asyncio.open_connection(where[0], int(where[1]))
        head_writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nX-A: ")
        body, body_writer = await asyncio.open_connection(where[0], int(where[1]))
        body_writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
        long, long_writer = await asyncio.open_connection(where[0], int(where[1]))
        long_writer.write(b"GET / HTTP/1.1\r\nX-A: " + b"a" * 100_000)
        assert (await post(served.url, ASKED))[0] == 200
        async with asyncio.timeout(HANG):
            assert await head.read() == b""
            assert b" 408 " in await body.readline()
            with suppress(ConnectionError):
                assert b" 400 " in await long.readline()
        for writer in (head_writer, body_writer, long_writer):
            writer.close()


async def test_keys(path: Path, server: FakeServer) -> None:
    with serving(server, path, keys=("first", "second")) as served:
        for key in ("", "Bearer third", "Basic eDp0aGlyZA==", "first", "Basic x"):
            status, body, _ = await post(served.url, ASKED, Authorization=key)
            assert (status, complaint(body)["code"]) == (401, "invalid_api_key")
        for key in ("Bearer first", "bearer second", "Basic eDpmaXJzdA=="):
            assert (await post(served.url, ASKED, Authorization=key))[0] == 200
        async with aiohttp.ClientSession() as session:
            for path_, status in (("/healthz", 200), ("/metrics", 401), ("/v1/models", 401)):
                async with session.get(f"{served.url}{path_}") as response:
                    assert response.status == status


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}], ids=str
)
async def test_other_sites_get_nothing(served: Served, headers: dict[str, str]) -> None:
    status, body, got = await post(served.url, ASKED, **headers)
    assert status == 403 and complaint(body)
    assert not served.server.requests
    assert not [name for name in got if name.lower().startswith("access-control")]


async def test_gateway_that_is_its_own_upstream(served: Served) -> None:
    """The request comes round once, and is refused."""
    status, body, _ = await post(served.url, ASKED, **{"X-Matrix-Align-Via": f"x, {served.gateway.upstream.id}"})
    assert (status, complaint(body)["type"]) == (508, "server_error")


async def test_metrics(served: Served) -> None:
    await post(served.url, ASKED)
    await post(served.url, {**SCENE, "seed": 77})
    async with aiohttp.ClientSession() as session, session.get(f"{served.url}/metrics") as response:
        lines = dict(line.rsplit(" ", 1) for line in (await response.text()).splitlines() if line[0] != "#")
    assert float(lines['matrix_align_requests_total{status="200",way="passed"}']) >= 1
    assert float(lines['matrix_align_calls_total{method="matrix"}']) >= len(served.server.requests) - 1
    assert float(lines['matrix_align_tokens_total{kind="prompt",method="matrix"}']) > 0
    assert float(lines["matrix_align_overhead_seconds_count"]) >= 1
    assert lines["matrix_align_answers_being_made"] == "0.0"


def test_host_beyond_this_machine_needs_a_key(cli: Run, server: FakeServer) -> None:
    said = one_line(cli("serve", "--endpoint", server.url, "--host", "0.0.0.0"))
    assert "--key" in said


@contextmanager
def serve(folder: Path, server: FakeServer) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`matrix-align serve` as a process, and its address."""
    with started(folder, "serve", "--endpoint", server.url, "--port", "0", "--roles", "2", "--steps", "1") as process:
        assert process.stderr
        try:
            lines = iter(process.stderr.readline, "")
            line = next(line for line in lines if " is served at " in line)
            yield process, json.loads(line)["message"].split(" is served at ")[1].removesuffix("/v1")
        finally:
            process.kill()


async def test_sigterm_drains(tmp_path: Path, server: FakeServer) -> None:
    """The request in flight gets its answer, and the process ends well."""
    with serve(tmp_path, server) as (process, url):
        server.latency = 0.5
        asked = asyncio.create_task(post(url, ASKED))
        await until(lambda: server.requests)
        process.send_signal(signal.SIGTERM)
        assert (await asked)[0] == 200
        assert await asyncio.to_thread(process.wait, 60) == 0
        assert process.stderr
        assert all(json.loads(line) for line in process.stderr)


async def test_kill_loses_no_recorded_call(tmp_path: Path, server: FakeServer) -> None:
    """After kill -9 the same question is answered without asking for what was answered before."""
    server.on["Aftermath"] = lambda body: left
    with serve(tmp_path, server) as (process, url):
        asked = asyncio.create_task(post(url, {**SCENE, "matrix_align": {}}))
        await until(lambda: "Aftermath" in server.kinds())
        process.kill()
        with pytest.raises(aiohttp.ClientError):
            await asked
    before = server.kinds()
    del server.on["Aftermath"]
    with serving(server, tmp_path / "scenes.db") as served:
        status, _, headers = await post(served.url, SCENE)
    assert status == 200
    assert server.kinds()[len(before) :] == ["Aftermath", "Critique", "text"]
    assert int(headers["X-Matrix-Align-Calls"]) == len(server.requests) - 1
