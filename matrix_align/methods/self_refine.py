"""Self-refine: the model gives feedback on its own answer and refines it, until its feedback says stop.

Madaan et al., NeurIPS 2023, arXiv 2303.17651. It needs nothing. 1 call, and then at most 2 a round, all one after the
other: the initial response; then feedback, and the refined answer with all earlier answers and their feedback in view.
The last round is the feedback that says stop, or the last of `rounds` (4, as in the source), or the last that fits
into `budget`.

Departs from the source in these: the prompts have no examples, since the source's belong to its tasks; and the feedback
says stop in a field of its own, where the source reads it from scores or words. If the context overflows, the earliest
answers are left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..llm.structured import FromModel, Passage, Prose
from ..simulation.conversation import REPLY_TOKENS
from ..simulation.revise import respond, revised
from ..types import Draft, Frozen, Message, Question
from .budget import Budget, Rounds, rounds_within
from .chat import chat

PROMPTS = Prompts("matrix_align.methods.prompts.self_refine")
MEMORY = 20_000  # characters of earlier answers, and of the feedback on them, in a prompt

Attempt = tuple[str, str]  # an answer, and the feedback on it


class SelfRefineSettings(Frozen):
    """The most rounds of feedback; and the tokens that one answer may cost, 0 for no budget (see budget.py)."""

    rounds: Rounds = 4
    budget: Budget = 0


class Feedback(FromModel):
    """What could be better in the answer, and whether to refine it."""

    feedback: Passage
    verdict: Literal["refine", "stop"]


async def self_refine(question: Question, caller: Caller, settings: SelfRefineSettings) -> AsyncIterator[Draft]:
    initial = text = await caller.ask(respond(question))
    initial_cut = cut = caller.calls[-1].cut
    yield (draft := Draft(initial=initial, initial_cut=initial_cut))
    ending, attempts = "rounds finished", list[Attempt]()
    for _ in rounds_within(caller, settings.rounds, settings.budget):
        feedback = await caller.ask(_feedback(question, text))
        if feedback.verdict == "stop":
            ending = "nothing to refine"
            break
        attempts.append((text, feedback.feedback))
        text = (await caller.ask(_refine(question, attempts))).root
        cut = caller.calls[-1].cut
        yield draft
    yield draft.model_copy(update={"text": text, "text_cut": cut, "ending": ending})


def _feedback(question: Question, answer: str) -> Request[Feedback]:
    messages = chat(question, question.text, answer, PROMPTS.render("feedback"))
    return Request("feedback", Feedback, lambda _: messages, REPLY_TOKENS)


def _refine(question: Question, attempts: Sequence[Attempt]) -> Request[Prose]:
    """The request for the next answer. It sees the last attempt, and of the earlier ones the latest that fit."""

    def messages(limit: int) -> list[Message]:
        first = len(attempts) - 1
        while first and sum(map(_length, attempts[first - 1 : -1])) <= limit:
            first -= 1
        turns = [question.text]
        for answer, feedback in attempts[first:]:
            turns += [answer, PROMPTS.render("refine", feedback=feedback)]
        return chat(question, *turns)

    reply = revised(question, *(answer for answer, _ in attempts))
    return Request("revision", reply, messages, memory=MEMORY)


def _length(attempt: Attempt) -> int:
    return sum(map(len, attempt))
