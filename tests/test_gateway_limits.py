"""What one connection may cost the gateway: bodies, heads, and clients that read nothing or send requests ahead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from matrix_align.web import bodies, connection, transport
from matrix_align.web.gateway import Limits

from .conftest import HANG
from .fake import FakeServer
from .gateway import ASKED, Served, complaint, hung_up, post, serving, until

BODY = json.dumps(ASKED).encode()
HEAD = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()


@asynccontextmanager
async def connected(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(HANG):
            yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in pieces"])
async def test_body_of_a_hundred_megabytes(served: Served, announced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends all of it before it reads still gets the refusal. Others are answered meanwhile."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", HANG)  # in which it has to come
    how = f"Content-Length: {100 * 2**20}" if announced else "Transfer-Encoding: chunked"
    piece = b"x" * 2**20 if announced else b"100000\r\n" + b"x" * 2**20 + b"\r\n"
    async with connected(served) as (reader, writer):
        writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{how}\r\n\r\n".encode())
        for number in range(100):
            writer.write(piece)
            await writer.drain()
            if number == 50:
                assert (await post(served.url, ASKED))[0] == 200
        head, _, said = (await reader.readuntil(b"}}")).partition(b"\r\n\r\n")
    assert b" 413 " in head.split(b"\r\n")[0]
    assert complaint(said)["message"] == "the body is larger than 16 MiB"
    assert len(served.server.requests) == 1


async def test_bodies_have_room_together(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds no room is refused, and may come again once another request has ended."""
    free = bodies.ROOM.free
    monkeypatch.setattr(bodies.ROOM, "free", 150_000)
    served.server.faults = [hung_up]
    long = {**ASKED, "user": "x" * 100_000}
    one = asyncio.create_task(post(served.url, long))
    await until(lambda: served.server.requests)
    status, said, headers = await post(served.url, long)
    assert (status, complaint(said)["type"]) == (429, "rate_limit_error")
    assert int(headers["Retry-After"]) > 0
    assert (await post(served.url, ASKED))[0] == 200
    one.cancel()
    await until(lambda: served.gateway.in_flight == 0)
    assert bodies.ROOM.free == 150_000 < free
    assert (await post(served.url, long))[0] == 200


async def test_slow_clients_are_cut_off(path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never ends its head, and one that never ends its body. Others are answered."""
    with serving(server, path) as served:
        async with connected(served) as (head, head_writer), connected(served) as (body, body_writer):
            head_writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nX-A: ")
            body_writer.write(HEAD + b"{")
            assert (await post(served.url, ASKED))[0] == 200
        served.gateway.limits = Limits(body_seconds=0.5)
        async with connected(served) as (body, body_writer):
            body_writer.write(HEAD + b"{")
            assert b" 408 " in await body.readline()
        monkeypatch.setattr(connection, "HEAD_SECONDS", 0.5)
        async with connected(served) as (head, head_writer):
            head_writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nX-A: ")
            assert await head.read() == b""


async def test_head_that_is_too_long(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX-A: ")
        reading = asyncio.create_task(reader.read())
        while not reading.done():
            writer.write(b"a" * 10_000)
            await asyncio.sleep(0.01)
        with suppress(ConnectionError):
            head, _, said = (await reading).partition(b"\r\n\r\n")
            assert b" 400 " in head.split(b"\r\n")[0]
            assert complaint(said)["message"] == "the request's head is too large"


@pytest.mark.parametrize(("length", "status"), [(70_000, b"400"), (60_000, b"200")])
async def test_head_that_comes_at_once_with_its_body(served: Served, length: int, status: bytes) -> None:
    """It is as long as one that comes in pieces. The body is no part of it."""
    body = json.dumps({**ASKED, "user": "x" * 300_000}).encode()
    first = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nX-A: "
    async with connected(served) as (reader, writer):
        writer.write(first.encode() + b"a" * (length - len(first) - 4) + b"\r\n\r\n" + body)
        assert (await reader.readline()).split()[1] == status


CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("begun", [b"0\r\nX-A: ", b"1;"], ids=["trailer", "chunk"])
@pytest.mark.parametrize("keys", [(), ("mine",)], ids=["unanswered", "refused"])
async def test_what_is_around_chunks_is_limited(path: Path, server: FakeServer, begun: bytes, keys: Any) -> None:
    """It ends no head and no body, so nothing else would. Without a key the request is answered by then."""
    with serving(server, path, keys=keys) as served:
        async with connected(served) as (reader, writer):
            writer.write(CHUNKED + begun)
            reading = asyncio.create_task(reader.read())
            with suppress(ConnectionError):
                while not reading.done():
                    writer.write(b"a" * 10_000)
                    await asyncio.sleep(0.01)
                await reading
        await until(lambda: served.gateway.in_flight == 0)
        assert not server.requests


@pytest.fixture
def impatient(path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(transport, "READ_SECONDS", 0.5)
    with serving(server, path) as served:
        yield served


async def test_client_that_reads_nothing_is_cut_off(impatient: Served) -> None:
    """Its call is given up, as if it had hung up."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b"data: {}\n\n" * 10_000)

    impatient.server.faults = [endless]
    async with connected(impatient) as (_, writer):
        writer.write(HEAD + BODY)
        await until(lambda: impatient.server.requests)
        assert (await post(impatient.url, ASKED))[0] == 200
        await until(lambda: impatient.gateway.in_flight == 0 and impatient.server._busy == 0)


async def test_client_that_reads_nothing_of_an_answer_that_broke_off(impatient: Served) -> None:
    """The connection ends as well, though it has to be closed before all is sent."""

    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b" " * 2**23)
        assert request.transport
        request.transport.close()
        return response

    impatient.server.faults = [breaks]
    async with connected(impatient) as (_, writer):
        writer.write(HEAD + BODY)
        await until(lambda: impatient.server.requests and impatient.gateway.in_flight == 0)
        while not writer.transport.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.02)


async def test_client_that_reads_slowly_gets_all_of_its_answer(impatient: Served) -> None:
    """It is given up only if it reads nothing, and an idle connection does not end before the answer was read."""
    impatient.server.faults = [lambda _: web.Response(body=b" " * 2**23, content_type="application/json")]
    async with connected(impatient) as (reader, writer):
        writer.write(HEAD + BODY)
        read = 0
        while read < 2**23:
            read += len(await reader.read(2**17))
            await asyncio.sleep(0.02)


LONG = b"GET / HTTP/1.1\r\nX-A: " + b"a" * 200_000


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
@pytest.mark.parametrize("ahead", [HEAD + BODY, LONG, b"\r\n" * 150_000, b"\x00garbage"], ids=len)
async def test_what_comes_ahead_is_not_served(served: Served, ahead: bytes, at_once: bool) -> None:
    """The first request gets its own answer, whole, and then the connection ends."""
    answer = asyncio.Event()
    served.server.faults = [lambda _: waits(answer)]
    async with connected(served) as (reader, writer):
        writer.write(HEAD + BODY + (ahead if at_once else b""))
        await until(lambda: served.server.requests)
        writer.write(ahead)
        assert (await post(served.url, ASKED))[0] == 200
        answer.set()
        head, _, said = (await reader.read()).partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0] and b"connection: close" in head
    assert json.loads(said)["choices"][0]["message"]["content"] == "It depends. Ask first."
    assert len(served.server.requests) == 2


async def waits(answer: asyncio.Event) -> None:
    while not answer.is_set():  # noqa: ASYNC110 - it is set in another thread
        await asyncio.sleep(0.02)


async def test_hang_up_is_seen_behind_a_request_ahead(served: Served) -> None:
    served.server.faults = [hung_up]
    async with connected(served) as (_, writer):
        writer.write((HEAD + BODY) * 2)
        await until(lambda: served.server.requests)
    await until(lambda: served.gateway.in_flight == 0 and served.server._busy == 0)
    assert len(served.server.requests) == 1


@pytest.mark.parametrize(
    "framing", [f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"], ids=["length", "chunks"]
)
async def test_rest_of_a_refused_request_has_to_come_soon(
    path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch, framing: str
) -> None:
    """Without a key nobody holds a connection, whatever is still to come of the request."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.5)
    with serving(server, path, keys=("mine",)) as served:
        async with connected(served) as (reader, writer):
            writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n".encode())
            assert b" 401 " in await reader.readline()
            writer.write(b"1")
            await reader.read()


async def test_refusal_of_a_long_request_can_be_read(path: Path, server: FakeServer) -> None:
    """Also where the client wants no other answer on this connection, and first sends all of its request."""
    head = f"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Length: {2**23}\r\n\r\n"
    with serving(server, path, keys=("mine",)) as served:
        async with connected(served) as (reader, writer):
            writer.write(head.encode())
            for _ in range(8):
                await asyncio.sleep(0.05)
                writer.write(b" " * 2**20)
                await writer.drain()
            assert b" 401 " in await reader.readline()


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
async def test_what_stands_behind_a_body_is_no_header(path: Path, server: FakeServer, at_once: bool) -> None:
    """A key there is none, however the request is cut."""
    with serving(server, path, keys=("mine",)) as served:
        async with connected(served) as (reader, writer):
            writer.write(CHUNKED)
            if not at_once:
                await writer.drain()
                await asyncio.sleep(0.1)
            writer.write(b"2\r\n{}\r\n0\r\nAuthorization: Bearer mine\r\n\r\n")
            assert b" 401 " in await reader.readline()


async def test_head_without_a_path_is_answered(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(b"GET http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 400 " in await reader.readline()


async def test_chunks_that_are_none_are_refused_at_once(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(CHUNKED)
        await until(lambda: served.gateway.in_flight)
        writer.write(b"no number\r\n")
        assert b" 400 " in await reader.readline()
    await until(lambda: served.gateway.in_flight == 0)


async def test_client_that_says_that_it_sends_no_more_gets_its_answer(served: Served) -> None:
    """An answer that is made at once, as for a health check."""
    async with connected(served) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        writer.write_eof()
        assert b'{"status":"ok"}' in await reader.read()


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
async def test_another_protocol_is_not_spoken(served: Served, at_once: bool) -> None:
    """Java's client asks for HTTP/2 with its first request. It is answered as any other, and its body is its body."""
    body = json.dumps({**ASKED, "user": "GET /healthz HTTP/1.1\r\n\r\n"}).encode()
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"
    head = HEAD.replace(str(len(BODY)).encode(), str(len(body)).encode()).replace(
        b"localhost", b"localhost\r\n" + upgrade
    )
    async with connected(served) as (reader, writer):
        for _ in range(2):
            writer.write(head + (body if at_once else b""))
            if not at_once:
                await until(lambda: served.gateway.in_flight)
                writer.write(body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in answer.split(b"\r\n")[0]
            await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    assert [request["user"] for request in served.server.requests] == [json.loads(body)["user"]] * 2


async def test_no_tunnel(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(b"CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 400 " in await reader.readline()


async def test_two_requests_one_after_the_other(served: Served) -> None:
    """A connection is kept, also after a line break too many, which old clients send behind a body."""
    async with connected(served) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD + BODY + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head.split(b"\r\n")[0]
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
