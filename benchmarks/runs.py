"""What many scenes cost.

    python -m benchmarks.runs latency      # 200 scenes at once, an endpoint that answers after 0.5 s
    python -m benchmarks.runs memory       # 20,000 questions, an endpoint that answers at once
    python -m benchmarks.runs kills        # SIGKILL at 20 random moments of a run of 200 questions
    python -m benchmarks.runs prefix       # 16 prompts with one beginning on smollm2-135m
    python -m benchmarks.runs saturation   # 64 scenes at once on smollm2-135m, beside a plain load generator

Each prints a Markdown table; benchmarks/README.md holds them.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.fast import fast_server
from matrix_align import Endpoint, Message, Question, Sampling, Usage
from matrix_align.cli.options import setup_of
from matrix_align.data.sources import SourceRow
from matrix_align.generate.run import Run
from matrix_align.generate.schedule import generate
from matrix_align.llm.local import serve
from matrix_align.llm.pool import Server, Tally
from matrix_align.llm.prefix_cache import Slotted
from matrix_align.store import Store

LATENCY = 0.5  # seconds


def questions(count: int) -> list[SourceRow]:
    asked = (f"How do I plant tree number {number} in a small garden?" for number in range(count))
    return [SourceRow(f"made:{n}", "made", Question(text=text), "helpful") for n, text in enumerate(asked, start=1)]


async def played(folder: Path, url: str, count: int, at_once: int, **settings: int) -> float:
    """Seconds that a run of `count` questions takes."""
    with Run(folder, setup_of("URL", None, 0, None, None, **settings), "stub") as run:
        run.inputs.take([questions(count)])
        async with Endpoint(url, "stub") as endpoint:
            tally = Tally()
            await generate(run, [Server(endpoint, tally, fixed=at_once)], tally)
        assert run.inputs.counts() == {"done": count}
        return tally.seconds


async def latency(folder: Path) -> None:
    with fast_server(LATENCY) as url:
        print("| scenes, all at once | seconds | times one scene |\n|---|---|---|")
        one = await played(folder / "one", url, 1, 1)
        for count in (1, 50, 200):
            seconds = one if count == 1 else await played(folder / str(count), url, count, count)
            print(f"| {count} | {seconds:.1f} | {seconds / one:.2f} |", flush=True)


async def memory(folder: Path) -> None:
    """Peak memory of this process as the run goes on; it plays, the server is another process."""
    counts = (1_000, 5_000, 20_000)
    print("| scenes played | peak memory, MB | record, MB | kB a scene | seconds |\n|---|---|---|---|---|")
    with (
        fast_server(0.0) as url,
        Run(folder / "run", setup_of("URL", None, 0, None, None, roles=2, steps=1), "stub") as run,
    ):
        began = time.monotonic()
        async with Endpoint(url, "stub") as endpoint:
            for count in counts:
                run.inputs.take([questions(count)])
                tally = Tally()
                await generate(run, [Server(endpoint, tally, fixed=64)], tally)
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                size = sum(file.stat().st_size for file in (folder / "run").iterdir()) / 1e6
                took = time.monotonic() - began
                print(f"| {count:,} | {peak:.0f} | {size:.0f} | {size * 1000 / count:.0f} | {took:.0f} |", flush=True)
    began = time.monotonic()
    with Store(folder / "run" / "record.db") as store:
        listed = len(store.answers(20))
    print(f"\nOpening the record of {counts[-1]:,} scenes and listing {listed}: {time.monotonic() - began:.3f} s")


def kills(folder: Path) -> None:
    source, out = folder / "questions.txt", folder / "run"
    source.write_text("".join(f"{row.question.text}\n" for row in questions(200)))
    draw = random.Random(1)
    with fast_server(0.02, log=folder / "asked") as url:
        command = [sys.executable, "-m", "matrix_align", "generate", str(source), "--out", str(out)]
        command += ["--endpoint", url, "--model", "stub", "--roles", "2", "--steps", "2", "--concurrency", "16"]
        again = 0
        for _ in range(20):
            before, logged = recorded(out), lines(folder / "asked")
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(draw.uniform(0.3, 1.2))
            process.send_signal(signal.SIGKILL)
            process.wait()
            again += len(set(lines(folder / "asked")[len(logged) :]) & before)
        part = len(recorded(out))
        before, logged = recorded(out), lines(folder / "asked")
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        again += len(set(lines(folder / "asked")[len(logged) :]) & before)
    with sqlite3.connect(out / "record.db") as db:
        scenes, distinct = db.execute("SELECT count(*), count(DISTINCT question) FROM scenes").fetchone()
        whole = db.execute("SELECT count(*) FROM inputs WHERE state = 'done'").fetchone()[0]
        check = db.execute("PRAGMA integrity_check").fetchone()[0]
    print(
        "| killed | calls kept by then | done | scenes | questions with one | recorded calls asked again | integrity |"
    )
    print("|---|---|---|---|---|---|---|")
    print(f"| 20 times | {part:,} | {whole} | {scenes} | {distinct} | {again} | {check} |")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def recorded(run: Path) -> set[str]:
    """The calls in the record, as the server's log names them: by prompt and seed."""
    if not (run / "record.db").exists():
        return set()
    with sqlite3.connect(run / "record.db") as db:
        found = [json.loads(request) for (request,) in db.execute("SELECT request FROM calls")]
    return {name(each["messages"], each["sampling"]["seed"]) for each in found}


def name(messages: Any, seed: int) -> str:
    from benchmarks.fast import name as named

    return named(messages, seed)


async def prefix(folder: Path) -> None:
    """One call, then 16 at once that begin alike: how much of their prompts is read again."""
    print("| client | prompt tokens of the 16 | read | seconds |\n|---|---|---|---|")
    sampling = Sampling(temperature=0, max_tokens=16, seed=1)
    for client in ("Endpoint", "Slotted"):
        with serve("smollm2-135m") as served:
            plain = Endpoint(served.url, served.name, key=served.key)
            async with Slotted(served) if client == "Slotted" else plain as model:

                async def ask(number: int, model: Endpoint = model) -> Usage:
                    text = f"{'We rehearse what would follow from an answer. ' * 60}\n{number}: what is next?"
                    return (await model.ask([Message(role="user", content=text)], str, sampling)).usage

                await ask(0)
                began = time.monotonic()
                usage = sum(await asyncio.gather(*(ask(number) for number in range(1, 17))), start=Usage())
                took = time.monotonic() - began
                new = usage.prompt_tokens - usage.cached_tokens
                print(f"| {client} | {usage.prompt_tokens:,} | {new:,} | {took:.1f} |", flush=True)


async def saturation(folder: Path) -> None:
    """The same requests twice: as scenes make them, and from a plain loop that keeps as many in flight."""
    seconds, wanted = 120.0, 64
    print("| load | calls | prompt tokens read | generated | seconds | tokens/s |\n|---|---|---|---|---|---|")
    requests: list[dict[str, Any]] = []
    with (
        serve("smollm2-135m") as served,
        Run(folder / "run", setup_of(None, "smollm2-135m", 0, None, None, roles=3, steps=4), served.name) as run,
    ):
        run.inputs.take([questions(wanted)])
        async with Endpoint(served.url, served.name, key=served.key) as endpoint:
            asked = endpoint._request

            async def kept(method: str, path: str, body: dict[str, Any] | None) -> Any:
                if body:
                    requests.append(body)
                return await asked(method, path, body)

            endpoint._request = kept  # type: ignore[method-assign]
            tally = Tally(max_seconds=seconds)
            await generate(run, [Server(endpoint, tally, fixed=wanted)], tally)
            read = tally.usage.prompt_tokens - tally.usage.cached_tokens
            rate = (read + tally.usage.completion_tokens) / tally.seconds
            print(
                row("64 scenes at once", tally.calls, read, tally.usage.completion_tokens, tally.seconds, rate),
                flush=True,
            )
    with serve("smollm2-135m") as served:
        counts, began = [0, 0, 0], time.monotonic()
        waiting = iter(requests)
        headers = {"Authorization": f"Bearer {served.key}"}
        timeout = aiohttp.ClientTimeout(total=600)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:

            async def one_after_another() -> None:
                for body in waiting:
                    async with session.post(f"{served.url}/chat/completions", json=body) as response:
                        usage = (await response.json())["usage"]
                    counts[0] += 1
                    counts[1] += usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
                    counts[2] += usage["completion_tokens"]

            await asyncio.gather(*(one_after_another() for _ in range(wanted)))
        took = time.monotonic() - began
        plain = (counts[1] + counts[2]) / took
        print(row("plain loop, the same requests", *counts, took, plain))
    print(f"\nShare: {rate / plain:.0%}")


def row(load: str, calls: int, read: int, generated: int, seconds: float, rate: float) -> str:
    return f"| {load} | {calls:,} | {read:,} | {generated:,} | {seconds:.0f} | {rate:.0f} |"


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kinds: dict[str, Any] = {
            "latency": latency,
            "memory": memory,
            "kills": kills,
            "prefix": prefix,
            "saturation": saturation,
        }
        if (work := kinds[sys.argv[1]](folder)) is not None:
            asyncio.run(work)


if __name__ == "__main__":
    main()
