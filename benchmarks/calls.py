"""What a call costs us: calls a second through Recorded(Endpoint) with typed replies, beside a bare aiohttp loop.

    python -m benchmarks.calls             # on one core, against a server that answers at once
    python -m benchmarks.calls profile     # and where our share of the time goes, by function

Prompts have the length of a verdict's; every call is another one, so all are asked, checked, and committed.
"""

from __future__ import annotations

import asyncio
import cProfile
import io
import json
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import aiohttp

from benchmarks.stub import stub
from matrix_align import Endpoint, Message, Recorded, Sampling, Store
from matrix_align.llm.structured import schema_of
from matrix_align.simulation.types import Verdict

CALLS = 2_000
ROUNDS = 9  # of both, in turn: the median is told
IN_FLIGHT = 64
PROMPT = "Who is there, what has happened, and what is tried now. " * 60  # 3,400 characters
REPLY = {
    "reason": "Nothing stops him.",
    "feasible": True,
    "outcome": "Everybody in the street turns round.",
    "observers": ["Tom", "Child"],
    "harm": "The child is frightened.",
    "ending": "goes on",
}


async def rate(call: Callable[[int], Awaitable[object]]) -> float:
    """Calls a second of this process's CPU time, with IN_FLIGHT of them at once: other work does not disturb that."""
    numbers = iter(range(CALLS))

    async def one_after_another() -> None:
        for number in numbers:
            await call(number)

    began = time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(one_after_another())
    return CALLS / (time.process_time() - began)


async def bare(url: str) -> float:
    shape = {"type": "json_schema", "json_schema": {"name": "Verdict", "schema": schema_of(Verdict), "strict": True}}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(number: int) -> None:
            chat = [{"role": "user", "content": f"{number} {PROMPT}"}]
            body = {"model": "stub", "messages": chat, "response_format": shape, "max_tokens": 100}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                json.loads((await response.json())["choices"][0]["message"]["content"])

        return await rate(call)


async def ours(url: str, folder: Path) -> float:
    with Store(folder / "calls.db") as store:
        async with Endpoint(url, "stub") as endpoint:
            model = Recorded(endpoint, store)

            async def call(number: int) -> None:
                chat = [Message(role="user", content=f"{number} {PROMPT}")]
                await model.ask(chat, Verdict, Sampling(temperature=0.7, max_tokens=100, seed=number))

            return await rate(call)


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        stays, rest = min(cores := os.sched_getaffinity(0)), cores
    with tempfile.TemporaryDirectory() as folder, stub(json.dumps(REPLY)) as url:
        if hasattr(os, "sched_setaffinity") and len(rest) > 1:
            os.sched_setaffinity(0, {stays})  # the stub keeps the others
        if sys.argv[1:] == ["profile"]:
            profile = cProfile.Profile()
            profile.runcall(asyncio.run, ours(url, Path(folder)))
            out = io.StringIO()
            pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(30)
            print(out.getvalue())
            return
        pairs = []
        for number in range(ROUNDS):
            (each := Path(folder) / str(number)).mkdir()
            pairs.append((asyncio.run(bare(url)), asyncio.run(ours(url, each))))
        plain, full = (median(rates) for rates in zip(*pairs, strict=True))
        shares = sorted(other / one for one, other in pairs)
        print("| bare aiohttp, calls/s | Recorded(Endpoint), calls/s | share, median | share, least and most |")
        print("|---|---|---|---|")
        print(f"| {plain:,.0f} | {full:,.0f} | {median(shares):.0%} | {shares[0]:.0%}, {shares[-1]:.0%} |")


if __name__ == "__main__":
    main()
