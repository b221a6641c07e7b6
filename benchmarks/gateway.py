"""What passing a request on costs: the gateway beside a bare aiohttp proxy, on the same upstream that answers at once.

    python -m benchmarks.gateway [--seconds 5] [--beside COMMAND]

Three processes, on one machine: the upstream (stub.py), the proxy or the gateway, and this client. Prints a Markdown
table of requests per second, of milliseconds a request, and of how long the proxy's process was busy with one. COMMAND
starts another gateway to measure beside ours; in it {upstream} stands for the URL of the upstream, and {port} for the
port that it shall listen on.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import shlex
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import psutil
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


class Running(NamedTuple):
    url: str
    pid: int


@contextmanager
def running(target: Any, upstream: str) -> Iterator[Running]:
    """`target` in a process of its own, until the block ends."""
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(upstream, its), daemon=True)
    process.start()
    assert process.pid
    try:
        yield Running(ours.recv(), process.pid)
    finally:
        process.kill()


@contextmanager
def commanded(command: str, upstream: str) -> Iterator[Running]:
    """The gateway that `command` starts, once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [word.format(upstream=upstream, port=port) for word in shlex.split(command)]
    environment = {**os.environ, "OPENAI_API_KEY": "none"}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, stdout=quiet, stderr=quiet, env=environment) as process:
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    if process.poll() is not None:
                        raise SystemExit(f"{words[0]} ended with {process.returncode}") from None
                    time.sleep(0.5)
            yield Running(f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.kill()


def busy(pid: int) -> float:
    """Seconds for which a process has used a processor."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def measured(way: Running, at_once: int, seconds: float) -> tuple[float, float, float]:
    """(requests per second, median seconds of a request, seconds of a processor for one)."""
    taken: list[float] = []
    before = busy(way.pid)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        end = time.perf_counter() + seconds

        async def client() -> None:
            while (began := time.perf_counter()) < end:
                async with session.post(f"{way.url}/v1/chat/completions", json=ASKED) as response:
                    assert response.status == 200, await response.text()
                    await response.read()
                taken.append(time.perf_counter() - began)

        await asyncio.gather(*(client() for _ in range(at_once)))
    return len(taken) / seconds, statistics.median(taken), (busy(way.pid) - before) / len(taken)


async def main(seconds: float, beside: str) -> None:
    print("in flight | through | requests/s | median ms | processor ms\n---|---|---|---|---")
    with ExitStack() as stack:
        upstream = stack.enter_context(stub(says))
        ways = {"bare proxy": stack.enter_context(running(bare, upstream))}
        ways["gateway"] = stack.enter_context(running(gateway, upstream))
        if beside:
            ways[Path(shlex.split(beside)[0]).name] = stack.enter_context(commanded(beside, upstream))
        for way in ways.values():
            await measured(way, 8, 1)  # connections and caches are warm
        for at_once in AT_ONCE:
            for name, way in ways.items():
                rate, median, processor = await measured(way, at_once, seconds)
                print(f"{at_once} | {name} | {rate:,.0f} | {median * 1000:.2f} | {processor * 1000:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.gateway")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--beside", metavar="COMMAND", default="")
    given = parser.parse_args()
    asyncio.run(main(given.seconds, given.beside))
