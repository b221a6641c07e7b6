"""How soon the model's server is rid of a call whose client has hung up from the gateway.

    python -m benchmarks.gateway_hang_up [TIMES]

The model's server, the gateway and the clients share one process. Prints the median and the longest of TIMES hang-ups
(50), for a request that is passed on and for a scene.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from matrix_align import Endpoint, Store
from matrix_align.web.app import app
from matrix_align.web.gateway import Gateway
from matrix_align.web.guard import Access
from matrix_align.web.server import listen, server_of

QUESTION = {"role": "user", "content": "Why is the sky blue?"}


class Silent:
    """A model's server that never answers. It notes each call that begins, and when it has ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Queue[None]()
        self.ended = asyncio.Queue[float]()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.begun.put_nowait(None)
        while await reader.read(2**16):
            pass
        self.ended.put_nowait(time.perf_counter())
        writer.close()


async def hung_up(url: str, model: str, calls: int, silent: Silent) -> float:
    """Seconds from the client's hang-up to the end of the last of its `calls`."""
    async with aiohttp.ClientSession() as session:
        body: dict[str, Any] = {"model": model, "messages": [QUESTION]}
        asked = asyncio.create_task(session.post(f"{url}/v1/chat/completions", json=body))
        for _ in range(calls):
            await silent.begun.get()
        began = time.perf_counter()
        asked.cancel()
        return max([await silent.ended.get() for _ in range(calls)]) - began


async def main(times: int) -> None:
    silent = Silent()
    model = await asyncio.start_server(silent, "127.0.0.1", 0)
    upstream = f"http://127.0.0.1:{model.sockets[0].getsockname()[1]}/v1"
    print("request | median ms | longest ms\n---|---|---")
    with (
        tempfile.TemporaryDirectory() as folder,
        Store(Path(folder) / "scenes.db") as store,
        listen("127.0.0.1", 0) as here,
    ):
        async with Endpoint(upstream, "silent", digest="") as endpoint:
            server = server_of(app(Gateway(endpoint, store), Access((), True, endpoint.id)), 1)
            serving = asyncio.create_task(server.serve(sockets=[here]))
            url = f"http://127.0.0.1:{here.getsockname()[1]}"
            for way, name, calls in (("passed on", "silent", 1), ("scene", "matrix", 2)):
                taken = [await hung_up(url, name, calls, silent) * 1000 for _ in range(times)]
                print(f"{way} | {statistics.median(taken):.1f} | {max(taken):.1f}")
            server.should_exit = True
            await serving


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
