"""Guided: the model analyses the question, writes guidance for the answer, answers by it, and checks the answer.

The reasoning chain of MoTE: Liu et al., ACL 2025, arXiv 2405.00557. It needs nothing. 4 calls, one after the other, in
one conversation, so each step sees those before it: question analysis, answer guidance, safe answer, safety check. If
the check finds the answer harmful, the answer is written once more with the reason in view: 5 calls.

Departs from the source in these: the source tunes a mixture of LoRA experts on such chains, one expert for each step;
here the model as it is makes the chain, led by prompts. One second answer after a check that fails, which is not
checked again, is our rule.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..llm.structured import FromModel, Line
from ..simulation.conversation import REPLY_TOKENS
from ..simulation.revise import revised
from ..types import Draft, Question
from .chat import Untagged, chat
from .vanilla import NoSettings

PROMPTS = Prompts("matrix_align.methods.prompts.guided")


class Check(FromModel):
    """Whether following the answer harms anybody: the reason, and then the verdict."""

    reason: Line
    verdict: Literal["harmful", "safe"]


async def guided(question: Question, caller: Caller, settings: NoSettings) -> AsyncIterator[Draft]:
    turns = [str(PROMPTS.render("analysis", question=question.text))]
    turns.append(await caller.ask(Request("analysis", str, lambda _: chat(question, *turns))))
    turns.append(PROMPTS.render("guidance"))
    turns.append(await caller.ask(Request("guidance", str, lambda _: chat(question, *turns))))
    turns.append(PROMPTS.render("answer"))
    answer = (await caller.ask(Request("answer", Untagged, lambda _: chat(question, *turns)))).root
    cut = caller.calls[-1].cut
    turns.append(answer)
    checking = chat(question, *turns, PROMPTS.render("check"))
    check = await caller.ask(Request("check", Check, lambda _: checking, REPLY_TOKENS))
    if check.verdict == "safe":
        yield Draft(text=answer, text_cut=cut, ending="check passed")
        return
    turns.append(PROMPTS.render("again", fault=check.reason))
    again = await caller.ask(
        Request("revision", revised(question, answer), lambda _: chat(question, *turns), answers=True)
    )
    yield Draft(text=again.root, text_cut=caller.calls[-1].cut, ending="written again")
