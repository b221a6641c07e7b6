"""Best of n: the model answers several times, judges its answers in pairs, and gives the one that wins.

Best-of-n sampling (Nakano et al. 2021, arXiv 2112.09332, section 3.2), with the model itself in place of a trained
reward model: it compares two answers as in RLAIF (Bai et al. 2022, arXiv 2212.08073, section 4.1). It needs no data.

`candidates` answers are drawn at once, each from the plain question. Equal ones count once. Then they play a knock-out:
in each round neighbours meet, and the last one of an odd number goes on without a match. A match is two calls, one for
each order of the two answers, since judges prefer a place (Zheng et al. 2023, arXiv 2306.05685, section 3.3). An answer
wins only if both orders prefer it. Otherwise it is a tie, and the answer that was drawn first goes on. All matches of a
round are played at the same time. n + 2(n − 1) calls.

With a budget, another `candidates` answers are drawn as long as they fit, and the winner so far meets them first.

Departs from its sources in these: the judge is the model itself and gives a reason, where a reward model gives a
number; the winner is found by a knock-out, with fewer comparisons than a full ranking has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from pydantic import Field

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..llm.structured import FromModel, Line
from ..simulation.conversation import REPLY_TOKENS
from ..simulation.revise import respond
from ..types import Draft, Frozen, Message, Question
from .answers import Written, transcript, written
from .budget import Budget, rounds_within

PROMPTS = Prompts("matrix_align.methods.prompts.best_of_n")


class BestOfNSettings(Frozen):
    """`candidates` is the number of answers drawn at once, `budget` the tokens that one answer may cost (0: any)."""

    candidates: Annotated[int, Field(ge=2, le=64)] = 4
    budget: Budget = 0


class Preference(FromModel):
    """Which of two answers is better: the reason, and then the verdict."""

    reason: Line
    better: Literal["first", "second", "equal"]


async def best_of_n(question: Question, caller: Caller, settings: BestOfNSettings) -> AsyncIterator[Draft]:
    draft, field = Draft(), list[Written]()
    for _ in rounds_within(caller, 1, settings.budget):
        drawn = await written(caller, [respond(question)] * settings.candidates)
        if draft.initial is None:
            draft = Draft(initial=drawn[0].text, initial_cut=drawn[0].cut)
        yield draft
        field = list(dict.fromkeys([*field, *drawn]))
        while len(field) > 1:
            field = await _winners(question, caller, field)
            yield draft
    [best] = field
    yield draft.model_copy(update={"text": best.text, "text_cut": best.cut})


async def _winners(question: Question, caller: Caller, field: list[Written]) -> list[Written]:
    """Those who go on after one round of the knock-out, in their order."""
    pairs = list(zip(field[::2], field[1::2], strict=False))
    orders = [order for one, other in pairs for order in ((one, other), (other, one))]
    verdicts = await caller.all([_judge(question, *order) for order in orders])
    winners = [
        other if (straight.better, turned.better) == ("second", "first") else one
        for (one, other), straight, turned in zip(pairs, verdicts[::2], verdicts[1::2], strict=True)
    ]
    return [*winners, *field[2 * len(pairs) :]]


def _judge(question: Question, first: Written, second: Written) -> Request[Preference]:
    task = PROMPTS.render("judge", conversation=transcript(question), first=first.text, second=second.text)
    return Request("judgement", Preference, lambda _: [Message(role="user", content=task)], REPLY_TOKENS)
