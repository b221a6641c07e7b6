"""Scores every answer of the grid, by rule and, if there is one, by a judge.

Owns what a judge costs when it is down: one failed call, not one for each answer. Knows no plot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel

from ...errors import ModelError, QuotaExceeded, Refused, Unreachable
from ...llm.model import Model, Reply
from ...llm.pool import Tally
from ...llm.structured import Wanted
from ...types import Message, Sampling
from ..scores import Scores, scores
from .grid import Cell, Outcome
from .progress import Progress

T = TypeVar("T", bound="str | BaseModel")

AT_ONCE = 16  # answers that a judge reads at the same time
FOR_ALL = (Unreachable, QuotaExceeded)  # errors that every further call would meet too

Outcomes = Mapping[tuple[str, str], Mapping[str, Outcome]]  # by (benchmark, method), then by the question's id
AllScores = dict[tuple[str, str], dict[str, Scores]]  # likewise


class WhileThere:
    """A judge that is asked no more once it can't be reached, or refuses every request. Then calls fail at once."""

    def __init__(self, judge: Model) -> None:
        self.gone: ModelError | None = None
        self._judge = judge

    @property
    def name(self) -> str:
        return self._judge.name

    @property
    def digest(self) -> str:
        return self._judge.digest

    async def ask(self, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling) -> Reply[T]:
        if self.gone:
            raise self.gone
        try:
            return await self._judge.ask(messages, reply, sampling)
        except ModelError as error:
            if isinstance(error, FOR_ALL) or (isinstance(error, Refused) and not error.mendable):
                self.gone = error
            raise


class UntilStopped:
    """A judge that is asked no more once `tally` says to stop. Calls in flight are paid for, and are awaited.

    `heard` is True once it gave a verdict, and `failure` is the first error of a call.
    """

    def __init__(self, judge: Model, tally: Tally) -> None:
        self.heard = False
        self.failure: ModelError | None = None
        self._judge = judge
        self._tally = tally

    @property
    def name(self) -> str:
        return self._judge.name

    @property
    def digest(self) -> str:
        return self._judge.digest

    async def ask(self, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling) -> Reply[T]:
        if why := self._tally.stopped():
            raise ModelError(f"not asked: {why}")
        try:
            verdict = await self._judge.ask(messages, reply, sampling)
        except ModelError as error:
            self.failure = self.failure or error
            raise
        self.heard = True
        return verdict


async def score_all(cells: Sequence[Cell], outcomes: Outcomes, judge: Model | None, progress: Progress) -> AllScores:
    """The scores of every question of every cell. A verdict that can't be had is missing, with its reason."""
    at_once = asyncio.Semaphore(AT_ONCE)
    found: AllScores = {(cell.benchmark, cell.method): {} for cell in cells}
    done: list[Scores] = []

    async def score(cell: Cell, number: int) -> None:
        item = cell.items[number]
        outcome = outcomes[cell.benchmark, cell.method][item.id]
        text = outcome.answer.text if outcome.answer else None
        async with at_once:
            made = await scores(item.question, item.wanted, text, judge, outcome.detail or outcome.why)
        done.append(made)
        found[cell.benchmark, cell.method][item.id] = made

    who = f"scores by {judge.name}" if judge else "scores by rule"
    async with progress.counting(who, sum(len(cell.items) for cell in cells), done), asyncio.TaskGroup() as group:
        for cell in cells:
            for number in range(len(cell.items)):
                group.create_task(score(cell, number))
    return found
