"""What a call costs us: calls a second of real scenes through Recorded(Endpoint), beside a bare aiohttp client.

    python -m benchmarks.calls             # on one core, against a server that answers at once
    python -m benchmarks.calls profile     # and where our share of the time goes, by function

128 scenes are played at once, each with a cast of its own, in which everyone observes and acts. Then the bare
client posts the very same bodies, 128 in flight, and parses the replies.
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
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from benchmarks.stub import stub
from matrix_align import METHODS, Endpoint, Question, Recorded, Sampling, Store

SCENES = 128  # all at once; they make 66 calls each
ROUNDS = 3  # of both, in turn: the median is told
WORDS = "It is said at the door, in front of everybody who has come, and the rain goes on"


def answer(body: dict[str, Any]) -> str:
    """A reply in which all goes well; names of a cast differ from scene to scene."""
    shape = body.get("response_format")
    if not shape:
        return "It depends on who is asked. Ask them first, and wait for what they say."
    schema = shape["json_schema"]["schema"]
    return json.dumps(_filled(schema, schema, "", body["seed"]))


def _filled(node: dict[str, Any], root: dict[str, Any], key: str, number: int) -> Any:
    if "$ref" in node:
        return _filled(root["$defs"][node["$ref"].rsplit("/", 1)[-1]], root, key, number)
    if "const" in node or "enum" in node:
        return node["enum"][0] if "enum" in node else node["const"]
    if node["type"] == "object":
        return {name: _filled(each, root, name, number) for name, each in node["properties"].items()}
    if node["type"] == "array":
        if key == "observers":
            return node["items"].get("enum") or [node["items"]["const"]]
        return [_filled(node["items"], root, key, number + place) for place in range(node.get("minItems", 1))]
    if node["type"] == "boolean":
        return True
    return f"Anna {number}" if key in ("ego", "name") else f"{number} {WORDS}"[: node["maxLength"] - 1]


async def bare(url: str, bodies: list[dict[str, Any]]) -> float:
    """Calls a second of this process's CPU time, so that other work on the machine does not disturb."""
    left = iter(bodies)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one_after_another() -> None:
            for body in left:
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    text = (await response.json())["choices"][0]["message"]["content"]
                    if "response_format" in body:
                        json.loads(text)

        began = time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(SCENES):
                group.create_task(one_after_another())
        return len(bodies) / (time.process_time() - began)


async def ours(url: str, folder: Path) -> tuple[float, int]:
    """The same of whole scenes, and how many calls they were."""
    with Store(folder / "calls.db") as store:
        async with Endpoint(url, "stub") as endpoint:
            model = Recorded(endpoint, store)

            async def scene(number: int) -> int:
                question = Question(text=f"How do I plan tea for {number}?")
                answers = METHODS["matrix"].answer(question, model, sampling=Sampling(seed=number))
                *_, last = [answer async for answer in answers]
                assert last.text
                return len(last.calls)

            began = time.process_time()
            async with asyncio.TaskGroup() as group:
                scenes = [group.create_task(scene(number)) for number in range(SCENES)]
            took = time.process_time() - began
            calls = sum(each.result() for each in scenes)
            return calls / took, calls


def main() -> None:
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "bodies.jsonl"
        with stub(answer, kept) as url:
            (first := Path(folder) / "first").mkdir()
            _, calls = asyncio.run(ours(url, first))
        bodies = [json.loads(line) for line in kept.read_bytes().splitlines()]
        assert len(bodies) == calls, (len(bodies), calls)
        with stub(answer) as url:
            if len(cores) > 1:
                os.sched_setaffinity(0, {min(cores)})  # the stub keeps the others
            if sys.argv[1:] == ["profile"]:
                profile = cProfile.Profile()
                profile.runcall(asyncio.run, ours(url, Path(folder)))
                out = io.StringIO()
                pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(40)
                print(out.getvalue())
                return
            pairs = []
            for number in range(ROUNDS):
                (each := Path(folder) / str(number)).mkdir()
                pairs.append((asyncio.run(bare(url, bodies)), asyncio.run(ours(url, each))[0]))
        plain, full = (median(rates) for rates in zip(*pairs, strict=True))
        shares = sorted(of_scenes / of_bare for of_bare, of_scenes in pairs)
        size = sum(len(json.dumps(body)) for body in bodies) / len(bodies)
        print(f"{calls:,} calls, bodies of {size:,.0f} characters")
        print("| bare aiohttp, calls/s | scenes, calls/s | share, median | share, least and most |")
        print("|---|---|---|---|")
        print(f"| {plain:,.0f} | {full:,.0f} | {median(shares):.0%} | {shares[0]:.0%}, {shares[-1]:.0%} |")


if __name__ == "__main__":
    main()
