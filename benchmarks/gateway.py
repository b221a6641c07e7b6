"""What passing a request on costs: the gateway beside a bare aiohttp proxy, on the same upstream that answers at once.

    python -m benchmarks.gateway [SECONDS]

Three processes, on one machine: the upstream (stub.py), the proxy or the gateway, and this client. Prints a Markdown
table of requests per second and milliseconds a request.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from .stub import stub

ASKED = {"model": "stub", "messages": [{"role": "user", "content": "Why is the sky blue?" * 20}]}
AT_ONCE = (1, 32)


def says(body: dict[str, Any]) -> str:
    return "It scatters blue light more than red." * 5


def bare(upstream: str, ready: Connection) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def answer(request: web.Request) -> web.Response:
                async with session.post(
                    f"{upstream}/chat/completions",
                    data=await request.read(),
                    headers={"Content-Type": "application/json"},
                ) as response:
                    return web.Response(
                        body=await response.read(), status=response.status, content_type="application/json"
                    )

            app = web.Application()
            app.router.add_post("/v1/chat/completions", answer)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            ready.send(f"http://127.0.0.1:{runner.addresses[0][1]}")
            await asyncio.Event().wait()

    asyncio.run(run())


def gateway(upstream: str, ready: Connection) -> None:
    from matrix_align import Endpoint, Store
    from matrix_align.web.app import app
    from matrix_align.web.gateway import Gateway
    from matrix_align.web.guard import Access
    from matrix_align.web.server import listen, server_of

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "scenes.db") as store:
            async with Endpoint(upstream, "stub", digest="") as endpoint:
                listener = listen("127.0.0.1", 0)
                ready.send(f"http://127.0.0.1:{listener.getsockname()[1]}")
                served = app(Gateway(endpoint, store), Access((), True, endpoint.id))
                await server_of(served, 1).serve(sockets=[listener])

    asyncio.run(run())


@contextmanager
def running(target: Any, upstream: str) -> Iterator[str]:
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(upstream, its), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()


async def measured(url: str, at_once: int, seconds: float) -> tuple[float, float]:
    """(requests per second, median seconds of a request)."""
    taken: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        end = time.perf_counter() + seconds

        async def client() -> None:
            while (began := time.perf_counter()) < end:
                async with session.post(f"{url}/v1/chat/completions", json=ASKED) as response:
                    assert response.status == 200, await response.text()
                    await response.read()
                taken.append(time.perf_counter() - began)

        await asyncio.gather(*(client() for _ in range(at_once)))
    return len(taken) / seconds, statistics.median(taken)


async def main(seconds: float) -> None:
    print("in flight | through | requests/s | median ms\n---|---|---|---")
    with stub(says) as upstream, running(bare, upstream) as proxy, running(gateway, upstream) as ours:
        ways = {"nothing": upstream.removesuffix("/v1"), "bare proxy": proxy, "gateway": ours}
        for url in ways.values():
            await measured(url, 8, 1)  # connections and caches are warm
        for at_once in AT_ONCE:
            for way, url in ways.items():
                rate, median = await measured(url, at_once, seconds)
                print(f"{at_once} | {way} | {rate:,.0f} | {median * 1000:.2f}")


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 5))
