"""The benchmarks as tasks of Inspect AI: `matrix_align/xstest`, `matrix_align/hh_rlhf`, and so on.

`-T file=…` reads a local file in the upstream form; without it the questions come from the hub. `-T limit=N` takes N
questions, from what is wanted and each category in turn (Inspect's own --limit takes the first ones). `-T grade=true`
adds the scores by the model role `grader`. Without --solver the model answers itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage

from ..benchmarks import BENCHMARKS, Benchmark, Item, drawn
from .model import MESSAGES
from .scorers import BY_GRADER, BY_RULE
from .solvers import SOLVERS

SHOWN = 5  # rows that can't be used, in the log's metadata


def _task_of(benchmark: Benchmark) -> Callable[..., Task]:
    """The benchmark as a registered task."""

    def made(file: str | None = None, limit: int | None = None, grade: bool = False) -> Task:
        found = benchmark.read(Path(file) if file else None)
        samples = [_sample(item) for item in drawn(found.items, limit)]
        told = found.told()
        return Task(
            dataset=MemoryDataset(samples, name=benchmark.name, location=file),
            solver=SOLVERS["vanilla"](),
            scorer=[BY_RULE(), *(made() for made in BY_GRADER if grade)],
            metadata={
                "benchmark": benchmark.title,
                "citation": benchmark.citation,
                "licence": benchmark.licence,
                "rows": found.rows,
                "unusable": len(found.faults),
                "repeated": found.repeated,
                "told": told[:SHOWN],
            },
        )

    made.__name__ = made.__qualname__ = benchmark.name.replace("-", "_")
    made.__doc__ = f"{benchmark.title}. {benchmark.citation}."
    registered: Callable[..., Task] = task(made)
    return registered


def _sample(item: Item) -> Sample:
    messages = item.question.messages()
    chat: list[ChatMessage] = [MESSAGES[turn.role](content=turn.content) for turn in messages]
    return Sample(
        id=item.id,
        input=chat if len(chat) > 1 else item.question.text,
        target=item.wanted,
        metadata={"category": item.category, "wanted": item.wanted, "place": item.place},
    )


TASKS = {name: _task_of(benchmark) for name, benchmark in BENCHMARKS.items()}
