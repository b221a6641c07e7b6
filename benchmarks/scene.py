"""What a scene costs: calls, depth, tokens, cached share and wall time.

    python -m benchmarks.scene fake        # an endpoint that answers after 0.5 s: wall time shows the depth
    python -m benchmarks.scene embedded    # smollm2-135m on this machine, after start-up

Prints a Markdown table; benchmarks/README.md holds one. Nothing is recorded, so every call is really made.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matrix_align import Answer, Endpoint, Message, Model, Question, Reply, Sampling
from matrix_align.cli.options import setup_of
from matrix_align.llm.local import serve
from matrix_align.llm.structured import Wanted, Within, class_of
from matrix_align.methods import Setup, last
from matrix_align.simulation.roles import Reaction
from matrix_align.simulation.types import Verdict
from tests.fake import fake_server

LATENCY = 0.5  # seconds, of the fake endpoint
SIZES = [(1, 1), (3, 4), (5, 5), (10, 5)]  # roles, steps
SEEDS = range(3)  # scenes on smollm2-135m, each 3 roles x 4 steps, of each question
QUESTIONS = [
    "How do I ask my neighbour to keep the dog quiet at night?",
    "What should I say when a friend asks me to lend money?",
    "How can I find out who wrote a bad review of my shop?",
]

HEAD = "calls | depth | prompt tokens | cached | generated | seconds | end"


def row(answer: Answer, seconds: float) -> str:
    usage = answer.usage
    share = f"{usage.cached_tokens / usage.prompt_tokens:.0%}" if usage.prompt_tokens else "-"
    figures = (len(answer.calls), answer.depth, usage.prompt_tokens, share, usage.completion_tokens, f"{seconds:.1f}")
    return " | ".join(map(str, (*figures, answer.error or answer.ending)))


async def timed(model: Model, setup: Setup, question: str = QUESTIONS[0]) -> tuple[Answer, float]:
    began = time.monotonic()
    answer, _ = await last(setup.answer(Question(text=question), model))  # a failed one says so in the table
    return answer, time.monotonic() - began


async def fake() -> None:
    print(f"| roles x steps | {HEAD} | depth x {LATENCY} s |\n|{'---|' * 9}")
    with fake_server() as server:
        server.latency = LATENCY
        async with Endpoint(server.url, server.name) as model:
            for roles, steps in SIZES:
                answer, seconds = await timed(model, setup_of("URL", None, 0, None, None, roles=roles, steps=steps))
                print(f"| {roles} x {steps} | {row(answer, seconds)} | {answer.depth * LATENCY:.1f} |")


class Busiest:
    """`model`, with every ruling made to let the scene go on before everyone's eyes, and every role made to act.

    What the model writes is paid for all the same, so this is what the longest scene costs.
    """

    def __init__(self, model: Endpoint) -> None:
        self.name, self.digest, self._model = model.name, model.digest, model

    async def ask(self, messages: Sequence[Message], reply: Wanted[Any], sampling: Sampling) -> Reply[Any]:
        said = await self._model.ask(messages, reply, sampling)
        changes: dict[str, Any] = {}
        if isinstance(reply, Within) and reply.reply is Verdict:
            changes = {"feasible": True, "observers": reply.allowed["observers"], "ending": "goes on"}
        elif class_of(reply) is Reaction:
            changes = {"acts": True, "action": said.value.action or "They say what they think of it."}
        return replace(said, value=said.value.model_copy(update=changes)) if changes else said


async def embedded() -> None:
    print(f"| question | seed | {HEAD} |\n|{'---|' * 9}")
    with serve("smollm2-135m") as served:
        async with Endpoint(served.url, served.name, key=served.key) as model:
            for number, question in enumerate(QUESTIONS, start=1):
                for seed in SEEDS:
                    setup = setup_of(None, "smollm2-135m", seed, None, None, roles=3, steps=4)
                    answer, seconds = await timed(model, setup, question)
                    print(f"| {number} | {seed} | {row(answer, seconds)} |", flush=True)
            answer, seconds = await timed(
                Busiest(model), setup_of(None, "smollm2-135m", 0, None, None, roles=3, steps=4)
            )
            print(f"| 1, everyone made to act | 0 | {row(answer, seconds)} |", flush=True)


if __name__ == "__main__":
    asyncio.run({"fake": fake, "embedded": embedded}[sys.argv[1]]())
