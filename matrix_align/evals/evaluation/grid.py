"""The grid: every benchmark's questions answered by every method, each cell a run in a folder of its own.

Owns the order of the cells, and what is left of each after a stop. `generate` does the work, and it resumes. A cell's
folder can be read, exported and continued like any other run. Knows no score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...data.sources import SourceRow
from ...generate.run import DESCRIBED, Run
from ...generate.schedule import generate
from ...llm.pool import Server, Tally
from ...methods import Setup
from ...types import Answer
from ..benchmarks import Item
from .progress import Progress

ANSWERS = "answers"
PLAIN = "vanilla"  # the method whose answers others begin with
CATEGORY = {"refuse": "harmful", "answer": "helpful"}  # what a run calls questions of which this is wanted


@dataclass(frozen=True)
class Cell:
    """One benchmark's questions, to be answered by one method, in the run `folder`."""

    benchmark: str
    items: tuple[Item, ...]
    setup: Setup
    folder: Path

    @property
    def method(self) -> str:
        return self.setup.method.name

    def rows(self) -> Iterator[SourceRow]:
        """The questions as a run takes them. Their places do not depend on where the benchmark's file lies."""
        for number, item in enumerate(self.items, start=1):
            place = f"{self.benchmark}:{number}"
            yield SourceRow(place, self.benchmark, item.question, CATEGORY[item.wanted])  # type: ignore[arg-type]

    def left(self) -> int:
        """How many of its questions are still to be answered."""
        if not (self.folder / DESCRIBED).exists():
            return len(self.items)
        with Run.there(self.folder) as run:
            ended = [
                state for (state,) in run.store.select("SELECT state FROM inputs WHERE state IN ('done', 'failed')")
            ]
        return max(0, len(self.items) - len(ended))


@dataclass(frozen=True)
class Outcome:
    """What became of one question: its answer, or why there is none. `detail` is the whole error."""

    answer: Answer | None
    why: str = ""
    detail: str = ""


def grid(out: Path, questions: dict[str, tuple[Item, ...]], setups: Sequence[Setup]) -> list[Cell]:
    """All cells: the methods of the first benchmark, then those of the next."""
    return [
        Cell(benchmark, items, setup, out / ANSWERS / benchmark / setup.method.name)
        for benchmark, items in questions.items()
        for setup in setups
    ]


async def answer_all(cells: Sequence[Cell], servers: Sequence[Server], tally: Tally, progress: Progress) -> None:
    """Answers what is left of every cell, one cell after the other, until `tally` says to stop.

    The cells of `vanilla` come first, and the other cells of its benchmark take its calls. So methods that begin with
    the plain answer begin with the same one, and an answer that they leave as it is is a tie. A server may well answer
    the same request in two ways.

    Raises what `generate` raises. Finished answers are then kept, and the same call resumes.
    """
    first = servers[0].endpoint
    left = {cell.folder: cell.left() for cell in cells}
    plain = {cell.benchmark: cell.folder for cell in cells if cell.method == PLAIN}
    ordered = sorted(cells, key=lambda cell: cell.method != PLAIN)
    for number, cell in enumerate(ordered, start=1):
        if tally.stopped():
            return
        with Run(cell.folder, cell.setup, first.name, first.digest, first.source) as run:
            run.inputs.take([cell.rows()])
            before = plain.get(cell.benchmark, cell.folder)
            if left[cell.folder] and before != cell.folder and (before / DESCRIBED).exists():
                with Run.there(before) as other:
                    run.store.take(other.store)
            tally.total = tally.done + tally.failed + left[cell.folder]
            ahead = [(later.method, left[later.folder]) for later in ordered[number:]]
            async with progress.cell(number, len(ordered), cell.benchmark, cell.method, left[cell.folder], ahead):
                await generate(run, servers, tally)


def outcomes(cell: Cell) -> dict[str, Outcome]:
    """What became of each question of a cell, by the question's id. Every question has one outcome."""
    states: dict[str, tuple[str, str]] = {}
    answers: dict[str, Answer] = {}
    if (cell.folder / DESCRIBED).exists():
        with Run.there(cell.folder) as run:
            for id, state, reason in run.store.select("SELECT question, state, reason FROM inputs"):
                states[id] = (state, reason)
            for id, answer in run.store.select(
                "SELECT i.question, a.answer FROM inputs i JOIN answers a ON a.id = i.answer WHERE i.state = 'done'"
            ):
                answers[id] = Answer.model_validate_json(answer)
    return {item.id: _outcome(answers.get(item.id), *states.get(item.id, ("", ""))) for item in cell.items}


def _outcome(answer: Answer | None, state: str, reason: str) -> Outcome:
    if answer is not None:
        return Outcome(answer)
    if state == "failed":
        return Outcome(None, reason.split(":")[0], reason)
    return Outcome(None, "not answered yet")
