"""What passing a request on costs: the gateway beside a bare aiohttp proxy, on the same upstream that answers at once.

    python -m benchmarks.gateway [--rounds 30] [--beside COMMAND]

Three processes, on one machine: the upstream (stub.py), the proxy or the gateway, and this client. A machine's speed
changes while it is measured. So the ways take turns of half a second, and each is compared with the bare proxy in the
same round. Prints a Markdown table of the medians over all rounds: requests per second, their share of the bare
proxy's, milliseconds a request, and how long the proxy's process was busy with one. COMMAND starts another gateway to
measure beside ours; in it {upstream} stands for the URL of the upstream, and {port} for the port that it shall listen
on.
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
TURN = 0.5  # seconds


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


class Measured(NamedTuple):
    """`rate` is in requests a second; the others are seconds of a request."""

    rate: float
    median: float
    processor: float


async def measured(way: Running, at_once: int, seconds: float) -> Measured:
    """What so many clients at once get from it in so many seconds."""
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
    return Measured(len(taken) / seconds, statistics.median(taken), (busy(way.pid) - before) / len(taken))


async def main(rounds: int, beside: str) -> None:
    print("in flight | through | requests/s | of the bare proxy's | median ms | processor ms\n---|---|---|---|---|---")
    with ExitStack() as stack:
        upstream = stack.enter_context(stub(says))
        ways = {"bare proxy": stack.enter_context(running(bare, upstream))}
        ways["gateway"] = stack.enter_context(running(gateway, upstream))
        if beside:
            ways[Path(shlex.split(beside)[0]).name] = stack.enter_context(commanded(beside, upstream))
        for way in ways.values():
            await measured(way, 8, 1)  # connections and caches are warm
        for at_once in AT_ONCE:
            turns = [[await measured(way, at_once, TURN) for way in ways.values()] for _ in range(rounds)]
            for place, name in enumerate(ways):
                rate, median, processor = map(statistics.median, zip(*(turn[place] for turn in turns), strict=True))
                share = statistics.median(turn[place].rate / turn[0].rate for turn in turns)
                figures = f"{rate:,.0f} | {share:.0%} | {median * 1000:.2f} | {processor * 1000:.2f}"
                print(f"{at_once} | {name} | {figures}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.gateway")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--beside", metavar="COMMAND", default="")
    given = parser.parse_args()
    asyncio.run(main(given.rounds, given.beside))
