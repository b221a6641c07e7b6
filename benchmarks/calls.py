"""What a call costs us: the calls of real scenes through Recorded(Endpoint), beside a bare aiohttp client.

    python -m benchmarks.calls             # on one core, against a server that answers at once
    python -m benchmarks.calls profile     # and where the time of Recorded(Endpoint) goes, by function

128 scenes are played at once, each with a cast of its own, in which everyone observes and acts; the third figure is
theirs, and holds the method's own work too. What they asked is asked again, 128 calls in flight, by a bare client that
posts the very same bodies and parses the replies, and through Recorded(Endpoint) with an empty record.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import io
import json
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import aiohttp
from pydantic import BaseModel

from benchmarks.stub import stub
from matrix_align import METHODS, Endpoint, Message, Model, Question, Recorded, Reply, Sampling, Settings, Setup, Store
from matrix_align.llm.structured import Wanted

T = TypeVar("T", bound="str | BaseModel")
U = TypeVar("U")

IN_FLIGHT = 128  # scenes, of 75 calls each; then calls
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


Asked = tuple[Sequence[Message], Wanted[Any], Sampling]


class Kept:
    """`model`, and in `asked` all that it was asked."""

    def __init__(self, model: Model) -> None:
        self.name, self.digest, self._model = model.name, model.digest, model
        self.asked: list[Asked] = []

    async def ask(self, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling) -> Reply[T]:
        self.asked.append((messages, reply, sampling))
        return await self._model.ask(messages, reply, sampling)


async def rate(calls: Sequence[U], call: Callable[[U], Awaitable[object]]) -> float:
    """Calls a second of this process's CPU time, IN_FLIGHT at once: other work on the machine does not disturb that."""
    left = iter(calls)

    async def one_after_another() -> None:
        for each in left:
            await call(each)

    began = time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(one_after_another())
    return len(calls) / (time.process_time() - began)


async def bare(url: str, bodies: list[dict[str, Any]]) -> float:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(body: dict[str, Any]) -> None:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                text = (await response.json())["choices"][0]["message"]["content"]
                if "response_format" in body:
                    json.loads(text)

        return await rate(bodies, call)


async def recorded(url: str, folder: Path, asked: list[Asked]) -> float:
    with Store(folder / "calls.db") as store:
        async with Endpoint(url, "stub", digest="") as endpoint:
            model = Recorded(endpoint, store)
            return await rate(asked, lambda each: model.ask(*each))


async def scenes(url: str, folder: Path) -> tuple[float, list[Asked]]:
    """Calls a second of whole scenes, and what they asked."""
    with Store(folder / "scenes.db") as store:
        async with Endpoint(url, "stub", digest="") as endpoint:
            model = Kept(Recorded(endpoint, store))

            async def scene(number: int) -> None:
                question = Question(text=f"How do I plan tea for {number}?")
                answers = Setup(METHODS["matrix"], Settings(), Sampling(seed=number)).answer(question, model)
                *_, last = [answer async for answer in answers]
                assert last.text

            began = time.process_time()
            async with asyncio.TaskGroup() as group:
                for number in range(IN_FLIGHT):
                    group.create_task(scene(number))
            return len(model.asked) / (time.process_time() - began), model.asked


def main() -> None:
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "bodies.jsonl"
        with stub(answer, kept) as url:
            _, asked = asyncio.run(scenes(url, Path(folder)))
        bodies = [json.loads(line) for line in kept.read_bytes().splitlines()]
        assert len(bodies) == len(asked), "no reply was asked for again"
        gc.freeze()  # what is held here is none of what is measured
        with stub(answer) as url:
            if len(cores) > 1:
                os.sched_setaffinity(0, {min(cores)})  # the stub keeps the others
            if sys.argv[1:] == ["profile"]:
                profile = cProfile.Profile()
                profile.runcall(asyncio.run, recorded(url, Path(folder), asked))
                out = io.StringIO()
                pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(40)
                print(out.getvalue())
                return
            rounds = []
            for number in range(ROUNDS):
                (each := Path(folder) / str(number)).mkdir()
                of_bare, through = asyncio.run(bare(url, bodies)), asyncio.run(recorded(url, each, asked))
                rounds.append((of_bare, through, asyncio.run(scenes(url, each))[0]))
        shares = [(through / of_bare, whole / of_bare) for of_bare, through, whole in rounds]
        size = sum(len(json.dumps(body)) for body in bodies) / len(bodies)
        print(f"{len(asked):,} calls, bodies of {size:,.0f} characters, {IN_FLIGHT} in flight")
        print("| client | calls/s, median | share of the bare client's, median | least and most |")
        print("|---|---|---|---|")
        print(f"| bare aiohttp | {median(each[0] for each in rounds):,.0f} | | |")
        for place, name in enumerate(("Recorded(Endpoint)", "whole scenes")):
            of = sorted(share[place] for share in shares)
            middle = median(each[place + 1] for each in rounds)
            print(f"| {name} | {middle:,.0f} | {median(of):.0%} | {of[0]:.0%}, {of[-1]:.0%} |")


if __name__ == "__main__":
    main()
