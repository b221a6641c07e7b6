"""Debate: several copies of the model answer, read each other's answers and write theirs anew; then one answer is made.

Du et al. 2023, arXiv 2305.14325, and one of the baselines of MATRIX (arXiv 2402.05699). It needs nothing.

`candidates` copies answer the plain question at once. In each of `rounds` updates every copy is shown its own last
answer as its turn, and the others' last answers, and answers again; all copies at once. At the end one call sees all
last answers and draws up the final one. n + n · rounds + 1 calls; rounds + 2 follow one another. The source's default,
3 copies and 2 rounds, counts the first answers as a round; it is `candidates` 3 and `rounds` 1 here.

With a budget, `rounds` counts for nothing: there are as many updates as fit beside the final call.

Departs from the source in these: a copy sees only the last answers, not all earlier ones, so a prompt does not grow
with the rounds; questions here have no result to vote on, so the final answer is drawn up from all last answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Annotated

from pydantic import Field

from ..llm.caller import Caller, Request
from ..llm.prompts import Filled, Prompts
from ..llm.structured import Prose
from ..simulation.revise import respond, revised
from ..types import Draft, Frozen, Question
from .answers import Written, written
from .budget import Budget, Rounds, rounds_within
from .chat import Untagged, chat

PROMPTS = Prompts("matrix_align.methods.prompts.debate")


class DebateSettings(Frozen):
    """`candidates` is the number of copies, `rounds` that of updates, `budget` the tokens of one answer (0: any)."""

    candidates: Annotated[int, Field(ge=2, le=64)] = 3
    rounds: Rounds = 1
    budget: Budget = 0


async def debate(question: Question, caller: Caller, settings: DebateSettings) -> AsyncIterator[Draft]:
    answers = await written(caller, [respond(question)] * settings.candidates)
    draft = Draft(initial=answers[0].text, initial_cut=answers[0].cut)
    yield draft
    for number in rounds_within(caller, settings.rounds, settings.budget, closing=1 / settings.candidates):
        updates = [_update(question, answers, copy, number) for copy in range(settings.candidates)]
        answers = await written(caller, updates)
        yield draft
    [final] = await written(caller, [_final(question, answers)])
    yield draft.model_copy(update={"text": final.text, "text_cut": final.cut})


def _update(question: Question, answers: list[Written], copy: int, number: int) -> Request[Untagged]:
    """The request for the next answer of one copy, which sees the answers of all copies."""
    task = PROMPTS.render("update", answers=_shown(answers[:copy] + answers[copy + 1 :]))
    turns = chat(question, question.text, answers[copy].text, task)
    return Request("answer", Untagged, lambda _: turns, who=f"copy {copy + 1}", step=number)


def _final(question: Question, answers: list[Written]) -> Request[Prose]:
    task = PROMPTS.render("final", question=question.text, answers=_shown(answers))
    reply = revised(question, *(answer.text for answer in answers))
    return Request("revision", reply, lambda _: chat(question, task), answers=True)


def _shown(answers: Iterable[Written]) -> Filled:
    return Filled("\n".join(PROMPTS.render("answer", answer=answer.text) for answer in answers))
