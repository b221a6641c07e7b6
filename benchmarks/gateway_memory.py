"""Whether the gateway's memory stays flat: its resident memory, while it answers many requests of many kinds.

    python -m benchmarks.gateway_memory [REQUESTS]

Of a hundred requests 86 are passed on, 8 are answered by `vanilla` and 2 by it in a stream, 1 by `matrix` with one role
and one step; 1 names no model, and 2 clients hang up. No question is asked twice, so each method's answer adds to the
record, which is a file. Prints a Markdown table. The gateway is that of gateway.py, in front of the same upstream.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from typing import Any

import aiohttp
import psutil

from tests.fake import fill

from .gateway import gateway, running
from .stub import stub

AT_ONCE = 32
LINES = 10  # of the table, after the first
OWN = {"matrix_align": {"roles": 1, "steps": 1}}
KINDS: list[tuple[int, dict[str, Any], int | None]] = [  # how many of a hundred, their bodies, the status
    (86, {"model": "stub"}, 200),
    (8, {"model": "vanilla"}, 200),
    (2, {"model": "vanilla", "stream": True}, 200),
    (1, {"model": "matrix", **OWN}, 200),
    (1, {"model": "none of these"}, 404),
    (2, {"model": "stub"}, None),  # hangs up
]


def says(body: dict[str, Any]) -> str:
    """An object of the schema that is asked for, as the tests' endpoint makes it; otherwise a text."""
    import json

    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    return json.dumps(fill(schema, schema, "thing")) if schema else "It scatters blue light more than red." * 5


async def ask(session: aiohttp.ClientSession, url: str, number: int, body: dict[str, Any], wanted: int | None) -> None:
    asked = {**body, "messages": [{"role": "user", "content": f"Why is sky number {number} blue? " * 10}]}
    async with session.post(f"{url}/v1/chat/completions", json=asked) as response:
        if wanted is None:
            response.close()
            return
        text = await response.text()
        assert response.status == wanted and ('"error"' in text) == (wanted != 200), text


async def main(requests: int) -> None:
    print("requests | resident memory, MiB | connections open | seconds\n---|---|---|---")
    kinds = [(body, wanted) for share, body, wanted in KINDS for _ in range(share)]
    mixed = [kinds[number * 37 % len(kinds)] for number in range(len(kinds))]  # 37 and 100 have no common factor
    with stub(says) as upstream, running(gateway, upstream) as ours:
        process, began, numbers = psutil.Process(ours.pid), time.perf_counter(), itertools.count()

        def note(done: int) -> None:
            memory, open_ = process.memory_info().rss / 2**20, len(process.net_connections())
            print(f"{done:,} | {memory:.1f} | {open_} | {time.perf_counter() - began:.0f}", flush=True)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def client(last: int) -> None:
                while (number := next(numbers)) < last:
                    await ask(session, ours.url, number, *mixed[number % len(mixed)])

            for line in range(LINES + 1):
                last = max(requests * line // LINES, AT_ONCE)  # the first line: each client has a connection
                await asyncio.gather(*(client(last) for _ in range(AT_ONCE)))
                numbers = itertools.count(last)
                note(last)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
