"""Asks a judge which of two answers is better, each pair in both orders.

Owns which failures end the asking. A verdict that can't be had is missing, with the reason, and never a tie. Knows no
run, and computes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ...errors import BadReply, ContextOverflow, ModelError, Refused
from ...llm.model import Model
from ...llm.prompts import Filled
from ...types import Message, Question, shorten
from ..scores.judging import asked
from .prompts import PROMPTS
from .types import Contestant, Judged, Judgement, Pair, Side, Verdict

AT_ONCE = 32  # pairs in progress at the same time
DOWN = 8  # calls in a row that the server fails, after which it is asked no more
SIDES: tuple[Side, Side] = ("candidate", "baseline")


class Judging:
    """One judge at work on pairs. `trouble` is why it is asked no more; empty while it answers.

    `judge` is best a `Recorded` model: the same pairs then cost only the verdicts that are missing.
    """

    def __init__(self, judge: Model) -> None:
        self.trouble = ""
        self._judge = judge
        self._failed = 0  # calls in a row
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def judged(self, pairs: Sequence[Pair], done: Callable[[], None] = lambda: None) -> list[Judged]:
        """Every pair with its judgements. `done` is called after each pair. Raises no ModelError."""

        async def one(pair: Pair) -> Judged:
            async with self._at_once:
                said = () if pair.identical else tuple([await self._said(pair, side) for side in SIDES])
            done()
            return Judged(pair=pair, judgements=said)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(pair)) for pair in pairs]
        except BaseExceptionGroup as several:  # the record can't be written, for example
            raise several.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _said(self, pair: Pair, as_a: Side) -> Judgement:
        """The verdict with this side shown as A."""
        rater = self._judge.name
        if self.trouble:
            return Judgement(
                as_a=as_a, level=None, rater=rater, fault=f"not asked, since the judge failed: {self.trouble}"
            )
        try:
            verdict, _ = await asked(self._judge, messages(pair, as_a), Verdict)
        except ModelError as error:
            return Judgement(as_a=as_a, level=None, rater=rater, fault=f"{self._fault(error)}: {error}")
        self._failed = 0
        return Judgement(as_a=as_a, level=verdict.level, reason=verdict.reason, rater=rater)

    def _fault(self, error: ModelError) -> str:
        """What failed, in words. Notes trouble if all further calls would fail too."""
        if isinstance(error, BadReply):
            self._failed = 0
            return "no readable verdict"
        if isinstance(error, ContextOverflow):
            return "too long for the judge"
        self._failed += 1
        hopeless = isinstance(error, Refused) and not error.mendable
        if hopeless or self._failed >= DOWN:
            self.trouble = self.trouble or shorten(str(error), 300)
        return "refused by the judge's server" if isinstance(error, Refused) else "the judge's server failed"


def messages(pair: Pair, as_a: Side) -> list[Message]:
    """What the judge reads. It depends on the texts alone, not on whose they are."""
    a, b = (pair.candidate, pair.baseline) if as_a == "candidate" else (pair.baseline, pair.candidate)
    given = {"chat": _chat(pair.question), "a": a, "b": b, "criteria": PROMPTS.render("criteria")}
    return [Message(role="user", content=PROMPTS.render("verdict", **given))]


def _chat(question: Question) -> Filled:
    """The whole chat up to the question, each turn between tags. No turn can hold a tag of this folder's prompts."""
    turns = [PROMPTS.render(f"turn.{message.role}", text=message.content) for message in question.messages()]
    return Filled("\n".join(turns))


def likeness(name: str, digest: str, model: str, model_digest: str) -> str:
    """In which words a judge is the model under test: by its weights, or else by its name. Empty if it is not."""
    if digest and digest == model_digest:
        return "is"
    return "has the name of" if name.casefold() == model.casefold() else ""


def own_judge(name: str, digest: str, runs: Sequence[Contestant]) -> list[str]:
    """A warning for each run whose model is the judge itself."""
    return [
        f"the judge {name} {like} the model of {run.name}: models favour their own answers"
        for run in runs
        if (like := likeness(name, digest, run.model, run.digest))
    ]
