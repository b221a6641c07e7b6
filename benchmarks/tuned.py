"""How fast the tuned model answers beside its base: with merged weights, and with the adapter beside the base.

`python -m benchmarks.tuned DIR` takes the DIR that `matrix-align tune … --base smollm2-135m --gguf --out DIR` made. The
three models start in turn, several times each, and answer the same questions one after the other.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from statistics import median

from matrix_align import Message, Sampling
from matrix_align.llm.local import serve
from matrix_align.llm.prefix_cache import Slotted

ROUNDS = 11
TOKENS = 128
ASKED = ("Write a long story about the sea.", "Explain how bread is made.", "Describe a walk through a forest.")


async def speed(gguf: Path | None, adapter: Path | None) -> float:
    """Tokens a second, one answer at a time. The time includes reading the question."""
    tokens, seconds = 0, 0.0
    with serve(gguf, adapter=adapter) as served:
        async with Slotted(served) as model:
            for number, asked in enumerate(("Hello", *ASKED)):
                sampling = Sampling(temperature=0.7, max_tokens=TOKENS, seed=number)
                usage = (await model.ask([Message(role="user", content=asked)], str, sampling)).usage
                if number:  # the first warms it up
                    tokens, seconds = tokens + usage.completion_tokens, seconds + usage.seconds
    return tokens / seconds


async def main(folder: Path) -> None:
    kinds = {
        "base": (None, None),
        "merged weights": (folder / "merged.gguf", None),
        "adapter beside the base": (None, folder / "adapter.gguf"),
    }
    speeds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, (gguf, adapter) in kinds.items():
            speeds[name].append(await speed(gguf, adapter))
    print("| model | tokens/s, median | least and most | of the base |\n|---|---|---|---|")
    for name, measured in speeds.items():
        part = median(measured) / median(speeds["base"])
        print(f"| {name} | {median(measured):.0f} | {min(measured):.0f}, {max(measured):.0f} | {part:.0%} |")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
