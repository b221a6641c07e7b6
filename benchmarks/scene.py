"""What a scene costs: calls, depth, tokens, cached share and wall time.

    python -m benchmarks.scene fake        # an endpoint that answers after 0.5 s: wall time shows the depth
    python -m benchmarks.scene embedded    # the embedded model on this machine, after start-up

Prints a Markdown table; benchmarks/README.md holds one. Nothing is recorded, so every call is really made.
"""

from __future__ import annotations

import asyncio
import sys
import time

from matrix_align import Endpoint, MatrixAlignError, Question, Scene, Settings, play
from matrix_align.embedded import serve
from tests.fake import fake_server

LATENCY = 0.5  # seconds, of the fake endpoint
SIZES = [(1, 1), (3, 4), (5, 5), (10, 5)]  # roles, steps
SEEDS = range(3)  # scenes on the embedded model, each 3 roles x 4 steps
QUESTION = "How do I ask my neighbour to keep the dog quiet at night?"

HEAD = "calls | depth | prompt tokens | cached | generated | seconds | end"


def row(scene: Scene, seconds: float) -> str:
    usage = scene.usage
    share = f"{usage.cached / usage.prompt:.0%}" if usage.prompt else "-"
    end = scene.ending.how if scene.ending and not scene.error else scene.error or "-"
    return f"{len(scene.calls)} | {scene.depth} | {usage.prompt} | {share} | {usage.generated} | {seconds:.1f} | {end}"


async def played(model: Endpoint, settings: Settings) -> tuple[Scene, float]:
    began, scenes = time.monotonic(), []
    try:
        async for scene in play(Question(text=QUESTION), model, settings):
            scenes.append(scene)
    except MatrixAlignError:
        pass  # the last scene carries the error, and the table shows it
    return scenes[-1], time.monotonic() - began


async def fake() -> None:
    print(f"| roles x steps | {HEAD} | depth x {LATENCY} s |\n|{'---|' * 9}")
    with fake_server() as server:
        server.latency = LATENCY
        async with Endpoint(server.url, server.name) as model:
            for roles, steps in SIZES:
                scene, seconds = await played(model, Settings(roles=roles, steps=steps))
                print(f"| {roles} x {steps} | {row(scene, seconds)} | {scene.depth * LATENCY:.1f} |")


async def embedded() -> None:
    print(f"| seed | {HEAD} |\n|{'---|' * 8}")
    with serve() as served:
        async with Endpoint(served.url, served.name, key=served.key) as model:
            for seed in SEEDS:
                scene, seconds = await played(
                    model, Settings(roles=3, steps=4, seed=seed, max_tokens=160, temperature=0.3)
                )
                print(f"| {seed} | {row(scene, seconds)} |", flush=True)


if __name__ == "__main__":
    asyncio.run({"fake": fake, "embedded": embedded}[sys.argv[1]]())
