"""Critique and revise: the model criticises its answer by a principle drawn at random, revises it, and does so again.

The supervised stage of Constitutional AI: Bai et al., 2022, arXiv 2212.08073. It needs nothing; the principles may be
replaced. 1 call, and then 2 a round, all one after the other: the initial response; then a critique, and the revision,
in the same conversation. The next round starts from the revised answer, with a new principle. There are `rounds` rounds
(4, as in the source), or as many as fit into `budget`. The seed and the question decide which principles are drawn, so
a run that resumes draws the same.

Departs from the source in these: the prompts have no examples, the principles are ours, and each is one sentence that
serves for the critique and for the revision.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..simulation.revise import respond, revised
from ..types import Draft, Question
from .budget import Budget, Rounds, rounds_within
from .chat import chat
from .principles import PrinciplesSettings

PROMPTS = Prompts("matrix_align.methods.prompts.critique_revise")


class CritiqueReviseSettings(PrinciplesSettings):
    """The number of rounds; and the tokens that one answer may cost, 0 for no budget (see budget.py)."""

    rounds: Rounds = 4
    budget: Budget = 0


async def critique_revise(question: Question, caller: Caller, settings: CritiqueReviseSettings) -> AsyncIterator[Draft]:
    principles = settings.principles or tuple(PROMPTS.render("ours").splitlines())
    draw = random.Random(f"{caller.seed} {question.model_dump_json()}")  # its hash does not change between processes
    text = await caller.ask(respond(question))
    yield (draft := Draft(initial=text, initial_cut=caller.calls[-1].cut))
    for _ in rounds_within(caller, settings.rounds, settings.budget):
        text = await _improved(question, caller, text, draw.choice(principles))
        yield draft
    yield draft.model_copy(update={"text": text, "text_cut": caller.calls[-1].cut, "ending": "rounds finished"})


async def _improved(question: Question, caller: Caller, text: str, principle: str) -> str:
    """One round: the answer after a critique by this principle."""
    turns = [question.text, text, PROMPTS.render("critique", principle=principle)]
    turns.append(await caller.ask(Request("critique", str, lambda _: chat(question, *turns))))
    turns.append(PROMPTS.render("revision"))
    improved = await caller.ask(Request("revision", revised(question, text), lambda _: chat(question, *turns)))
    return improved.root
