"""The gateway under clients and servers that misbehave: nobody else is harmed, and no call goes on for nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from socket import gethostname
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from matrix_align.web.gateway import Limits
from matrix_align.web.server import listen

from .conftest import HANG, Run, started
from .conftest import complaint as one_line
from .fake import FakeServer, completion, drop, drop_mid_body, error, kind, stream
from .gateway import ASKED, Served, complaint, hung_up, post, serving, until

WAYS = ((200, "passed"), (502, "passed"), (200, "matrix"))
OWN = {"roles": 2, "steps": 1}
SCENE = {"model": "matrix", "messages": [{"role": "user", "content": "Why?"}], "matrix_align": OWN}


async def test_two_hundred_clients_and_a_server_with_every_fault(served: Served) -> None:
    """Each client gets what the server gave it, or one clear error. In the end no call is running."""

    async def garbage(request: web.Request) -> web.Response:
        return web.Response(body=b"\x00<html>", content_type="text/html")

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        return completion("slow")

    async def broken_stream(request: web.Request) -> web.StreamResponse:
        response = await stream(request, ["half"], finish=None)
        assert request.transport
        request.transport.abort()
        return response

    faults: dict[str, Any] = {
        "answered": lambda _: completion("well"),
        "too many": lambda _: error(429, "later"),
        "failed": lambda _: error(500, "broken"),
        "slow": slow,
        "dropped": drop,
        "dropped in mid-body": drop_mid_body,
        "dropped in mid-stream": broken_stream,
        "garbage": garbage,
    }

    async def fault(request: web.Request) -> Any:
        outcome = faults[(await request.json())["user"]](request)
        return await outcome if asyncio.iscoroutine(outcome) else outcome

    served.server.faults = [fault] * 200
    names = [list(faults)[place % len(faults)] for place in range(200)]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client(name: str) -> tuple[int, str]:
            """What one client got, in short."""
            try:
                async with session.post(f"{served.url}/v1/chat/completions", json={**ASKED, "user": name}) as response:
                    return response.status, shown(await response.read())
            except aiohttp.ClientPayloadError:
                return 200, "broken off"

        async with asyncio.timeout(HANG):
            got = await asyncio.gather(*map(client, names))
    expected = {
        "answered": (200, "well"),
        "too many": (429, "later"),
        "failed": (500, "broken"),
        "slow": (200, "slow"),
        "dropped": (502, "upstream_unreachable"),
        "dropped in mid-body": (200, "broken off"),  # as the server did: half a body is never taken for a whole one
        "dropped in mid-stream": (200, "upstream_unreachable"),
        "garbage": (200, "\x00<html>"),
    }
    assert got == [expected[name] for name in names]
    await until(lambda: served.gateway.in_flight == 0 and served.server._busy == 0)


def shown(body: bytes) -> str:
    """The answer's text, or the error: its code, or its words if it has none."""
    try:
        said = json.loads(body.strip().rpartition(b"data: ")[2])
    except ValueError:
        return body.decode()
    if "error" not in said:
        return str(said["choices"][0]["message"]["content"])
    return str(said["error"].get("code") or said["error"]["message"])


@pytest.mark.parametrize("body", [ASKED, SCENE, {**SCENE, "stream": True}], ids=["passed", "scene", "streamed"])
async def test_client_that_hangs_up_cancels_its_calls(served: Served, body: Any) -> None:
    """The model's server sees it. How soon is measured, not tested."""
    served.server.faults = [hung_up] * 2
    async with aiohttp.ClientSession() as session:
        task = asyncio.create_task(session.post(f"{served.url}/v1/chat/completions", json={**body, "seed": 9}))
        await until(lambda: len(served.server.requests) == (1 if body is ASKED else 2))
        task.cancel()
        with suppress(asyncio.CancelledError):
            (await task).close()
    await until(lambda: served.gateway.in_flight == 0 and served.server._busy == 0)
    assert (await figures(served))["matrix_align_answers_being_made"] == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("simulate", ["always", "auto"])
async def test_beyond_what_it_can_take_is_429(path: Path, server: FakeServer, simulate: str, stream: bool) -> None:
    """One answer is made and one waits, from its first call on, which may be that of `simulate: auto`."""
    held = threading.Event()
    server.on = dict.fromkeys(["Situation", "text", "Triage"], lambda body: partial(holds, held, server))
    own = {**OWN, "simulate": simulate}
    with serving(server, path, Limits(scenes=1, waiting=1)) as served:
        asked = {**SCENE, "stream": stream, "matrix_align": own}
        tasks = [asyncio.create_task(post(served.url, {**asked, "seed": n})) for n in range(8)]
        await until(lambda: sum(task.done() for task in tasks) == 6)
        assert len(server.requests) <= 2 and server.busiest <= 2
        held.set()
        answers = await asyncio.gather(*tasks)
    assert sorted(status for status, _, _ in answers) == [200] * 2 + [429] * 6
    for status, body, headers in answers:
        if status == 429:
            assert complaint(body)["type"] == "rate_limit_error" and int(headers["Retry-After"]) > 0


async def holds(held: threading.Event, server: FakeServer, request: web.Request) -> web.Response:
    body = await request.json()
    while not held.is_set():  # noqa: ASYNC110 - it is set in another thread
        await asyncio.sleep(0.02)
    return completion({"reason": "So.", "harm": "some"} if kind(body) == "Triage" else server.default(body))


@pytest.mark.parametrize("breaks", [lambda to: to.abort(), lambda to: to.write(b"zz\r\n")], ids=["dropped", "no HTTP"])
async def test_broken_stream_ends_in_an_error(served: Served, breaks: Any) -> None:
    begun = threading.Event()

    async def half(request: web.Request) -> web.StreamResponse:
        response = await stream(request, ["half"], finish=None)
        while not begun.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0.02)
        breaks(request.transport)
        return response

    served.server.faults = [half]
    body = {**ASKED, "stream": True}
    async with (
        asyncio.timeout(HANG),
        aiohttp.ClientSession() as session,
        session.post(f"{served.url}/v1/chat/completions", json=body) as response,
    ):
        assert response.status == 200 and await response.content.readuntil(b"half")
        begun.set()
        rest = (await response.read()).decode()
    assert json.loads(rest.strip().split("\n\n")[-1].removeprefix("data: "))["error"]["message"]


@pytest.mark.parametrize(
    ("head", "status", "expected"),
    [
        ("200 OK\r\nX-Note: a\x01b", 200, "{}"),
        ("200 OK\r\nX-Note: a\x7fb", 200, "{}"),
        ("099 Hm", 502, "the model's server answered 99, which is no status of an answer"),
        ("000 Hm", 502, "the model's server answered 0, which is no status of an answer"),
        ("101 Switching Protocols", 502, "the model's server answered 101, which is no status of an answer"),
        ("200 OK\r\nContent-Type: text/event-stream\r\nX-Broken: 1", 200, "upstream_unreachable"),
    ],
)
async def test_odd_head_of_the_servers_answer(served: Served, head: str, status: int, expected: str) -> None:
    """Clients get an answer whose head is HTTP's, and events to their end, or one clear error."""

    def answers(request: web.Request) -> None:
        length = 200 if "X-Broken" in head else 2
        assert request.transport
        request.transport.write(f"HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{{}}".encode())
        request.transport.close()

    served.server.faults = [answers]
    got, body, headers = await post(served.url, ASKED)
    assert (got, "X-Note" in headers) == (status, False)
    assert (body.decode() if expected == "{}" else shown(body)) == expected


async def test_keys(path: Path, server: FakeServer) -> None:
    with serving(server, path, keys=("first", "second")) as served:
        for key in ("", "Bearer third", "Basic eDp0aGlyZA==", "first", "Basic x"):
            status, body, _ = await post(served.url, ASKED, Authorization=key)
            assert (status, complaint(body)["code"]) == (401, "invalid_api_key")
            assert complaint(body)["message"].startswith("the key that was sent" if key else "no key was sent")
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


async def test_proxy_with_a_name_of_its_own(path: Path, server: FakeServer) -> None:
    """With a key the host is free, since no page of another site has the key. Without one the error says so."""
    host = {"Host": "chat.example.org", "Origin": "https://chat.example.org"}
    with serving(server, path, keys=("mine",)) as served:
        assert (await post(served.url, ASKED, Authorization="Bearer mine", **host))[0] == 200
        assert (await post(served.url, ASKED, **host))[0] == 401
        assert (await post(served.url, ASKED, Authorization="Bearer mine", Origin=host["Origin"]))[0] == 403
    with serving(server, path) as served:
        status, said, _ = await post(served.url, ASKED, **host)
        assert status == 403 and "--key" in complaint(said)["message"]


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "0.0.0.0"])
def test_own_address_as_endpoint_is_refused_at_once(cli: Run, address: str) -> None:
    with closing(listen("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    said = one_line(cli("serve", "--endpoint", f"http://{address}:{port}/v1", "--model", "m", "--port", port))
    assert "is this server itself" in said


async def test_gateway_that_is_its_own_upstream(served: Served) -> None:
    """The request comes round once, and is refused."""
    status, body, _ = await post(served.url, ASKED, **{"X-Matrix-Align-Via": f"x, {served.gateway.upstream.id}"})
    assert (status, complaint(body)["type"]) == (508, "server_error")


async def figures(served: Served) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(f"{served.url}/metrics") as response:
        lines = [line.rsplit(" ", 1) for line in (await response.text()).splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in lines}


async def test_metrics(path: Path, server: FakeServer) -> None:
    """Each call and each token is counted once. Only what the model's server answered in full tells our overhead."""
    server.on["Triage"] = lambda body: {"reason": "So.", "harm": "some"}
    with serving(server, path) as served:
        for fault in ([], [drop], [drop_mid_body]):
            server.faults = list(fault)
            with suppress(aiohttp.ClientPayloadError):
                await post(served.url, ASKED)
        for _ in range(2):  # the second time, all of it is in the record
            await post(served.url, {**SCENE, "matrix_align": {**OWN, "simulate": "auto"}})
        found = await figures(served)
    assert found["matrix_align_overhead_seconds_count"] == 1
    requests = {(s, w): found[f'matrix_align_requests_total{{status="{s}",way="{w}"}}'] for s, w in WAYS}
    assert requests == {(200, "passed"): 1, (502, "passed"): 2, (200, "matrix"): 2}
    assert found['matrix_align_calls_total{method="triage"}'] == 1
    assert found['matrix_align_tokens_total{kind="prompt",method="triage"}'] == 100
    assert found['matrix_align_calls_total{method="matrix"}'] == len(server.requests) - 3 - 1
    assert found['matrix_align_tokens_total{kind="completion",method="matrix"}'] == 10 * (len(server.requests) - 3 - 1)
    assert found["matrix_align_answers_being_made"] == 0


async def test_what_is_refused_is_counted_and_logged(
    path: Path, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "matrix_align.gateway")
    server.faults = [hung_up]
    with serving(server, path, Limits(requests=1)) as served:
        first = asyncio.create_task(post(served.url, ASKED))
        await until(lambda: server.requests)
        assert [(await post(served.url, ASKED, Host=host))[0] for host in ("localhost", "evil.example")] == [429, 403]
        found = await figures(served)
        lines = [vars(record)["fields"] for record in caplog.records]
        first.cancel()
        await until(lambda: served.gateway.in_flight == 0)
    assert [found[f'matrix_align_requests_total{{status="{n}",way="refused"}}'] for n in (429, 403)] == [1, 1]
    assert [(line["way"], line["status"]) for line in lines] == [("refused", 429), ("refused", 403)]


def test_method_is_no_name_of_the_model(cli: Run, server: FakeServer) -> None:
    """Nothing is said to be served before that is found."""
    server.name = "vanilla"
    done = cli("serve", "--endpoint", server.url, "--port", "0")
    assert done.returncode == 2 and "serve it under another name" in done.stderr
    assert "is served at" not in done.stderr


def test_host_beyond_this_machine_needs_a_key(cli: Run, server: FakeServer) -> None:
    said = one_line(cli("serve", "--endpoint", server.url, "--host", "0.0.0.0"))
    assert "--key" in said


@contextmanager
def serve(folder: Path, server: FakeServer, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`matrix-align serve` as a process, and its address."""
    given = ("--endpoint", server.url, "--port", "0", "--roles", "2", "--steps", "1", *more)
    with started(folder, "serve", *given) as process:
        assert process.stderr
        try:
            lines = iter(process.stderr.readline, "")
            line = next(line for line in lines if " is served at " in line)
            stage = json.loads(next(lines))["message"].removeprefix("its scenes are shown at ")
            assert stage == json.loads(line)["message"].split(" is served at ")[1].removesuffix("v1")
            yield process, json.loads(line)["message"].split(" is served at ")[1].removesuffix("/v1")
        finally:
            process.kill()


def test_address_beyond_this_machine_has_its_name(tmp_path: Path, server: FakeServer) -> None:
    with serve(tmp_path, server, "--host", "0.0.0.0", "--key", "mine") as (_, url):
        assert url.startswith(f"http://{gethostname()}:")


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
        messages = [json.loads(line).get("message") for line in process.stderr]
    assert "1 under way, with 60 s to end; Ctrl-C again ends them at once" in messages


async def test_what_has_no_time_to_end_is_told(
    path: Path, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no fault of ours, and the log has none."""
    caplog.set_level(logging.INFO)
    server.faults = [hung_up] * 5
    with serving(server, path) as served:
        bodies = [ASKED, SCENE, {**SCENE, "stream": True, "seed": 9}]
        asked = [asyncio.create_task(post(served.url, body)) for body in bodies]
        await until(lambda: len(server.requests) == 5)
    answers = [(status, shown(body)) for status, body, _ in await asyncio.gather(*asked)]
    told = "the server is ending, and had no time left for this request"
    assert answers == [(503, told), (503, told), (200, told)]
    lines = [vars(record)["fields"] for record in caplog.records if record.name == "matrix_align.gateway"]
    assert sorted((line["way"], line["status"]) for line in lines) == [("matrix", 503)] * 2 + [("passed", 503)]
    assert not [record for record in caplog.records if record.exc_info]


async def test_kill_loses_no_recorded_call(tmp_path: Path, server: FakeServer) -> None:
    """After kill -9 the same question is answered without asking for what was answered before."""
    server.on["Aftermath"] = lambda body: hung_up
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
