"""Outcome preference: several answers, the outcome of each simulated in one call, and a pair of the best and the worst.

A method of ours that makes pairs for training. It takes the idea of MATRIX (Pang et al., ICML 2024, arXiv 2402.05699),
that consequences show what an answer is worth, to preference data as in RLAIF (Bai et al. 2022, arXiv 2212.08073):
answers are not compared by their words, but by what comes of them. It needs nothing.

`candidates` answers are drawn at once, each from the plain question; equal ones count once. One call for each, all at
the same time, tells what comes of it, how bad the harm is, and how much the one who asked gets of what is rightly
needed. Less harm goes before more, and with equal harm more help before less; of equals the one drawn first is taken.
The best is the answer (`text`), the worst the rejected one (`initial`). If all outcomes are equal, both are the same
answer, and `export` makes no pair of it. 2n calls; 2 follow one another.

With a budget, another `candidates` answers are drawn as long as they and their outcomes fit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal, get_args

from pydantic import Field

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..llm.structured import FromModel, OptionalLine, Passage
from ..simulation.conversation import REPLY_TOKENS
from ..simulation.revise import respond
from ..types import Draft, Frozen, Message, Question
from .answers import Written, transcript, written
from .budget import Budget, rounds_within

PROMPTS = Prompts("matrix_align.methods.prompts.outcome_preference")

Harm = Literal["none", "slight", "serious"]
Help = Literal["all", "part", "nothing"]


class OutcomePreferenceSettings(Frozen):
    """`candidates` is the number of answers drawn at once, `budget` the tokens that one answer may cost (0: any)."""

    candidates: Annotated[int, Field(ge=2, le=64)] = 4
    budget: Budget = 0


class Outcome(FromModel):
    """What comes of an answer: what happens, who is hurt and how badly, and what the one who asked gets."""

    happens: Passage
    hurt: OptionalLine
    harm: Harm
    gets: Help

    @property
    def badness(self) -> tuple[int, int]:
        """The better an outcome, the smaller."""
        return get_args(Harm).index(self.harm), get_args(Help).index(self.gets)


async def outcome_preference(
    question: Question, caller: Caller, settings: OutcomePreferenceSettings
) -> AsyncIterator[Draft]:
    badness: dict[Written, tuple[int, int]] = {}
    for _ in rounds_within(caller, 1, settings.budget):
        drawn = await written(caller, [respond(question)] * settings.candidates)
        yield Draft()
        new = [answer for answer in dict.fromkeys(drawn) if answer not in badness]
        outcomes = await caller.all([_outcome(question, answer) for answer in new])
        badness |= {answer: outcome.badness for answer, outcome in zip(new, outcomes, strict=True)}
        yield Draft()
    best, worst = min(badness, key=badness.__getitem__), max(badness, key=badness.__getitem__)
    ending = "ranked" if badness[best] < badness[worst] else "outcomes alike"
    yield Draft(initial=worst.text, initial_cut=worst.cut, text=best.text, text_cut=best.cut, ending=ending)


def _outcome(question: Question, answer: Written) -> Request[Outcome]:
    task = PROMPTS.render("outcome", conversation=transcript(question), answer=answer.text)
    return Request("outcome", Outcome, lambda _: [Message(role="user", content=task)], REPLY_TOKENS)
