"""Deliberate: the model reads a written policy, reasons over what it means for the question, and answers.

Deliberative alignment: Guan et al., 2024, arXiv 2412.16339; the part of it that makes the training data, with the
policy in the prompt. It needs nothing. 2 calls, one after the other, in one conversation whose system prompt begins
with the policy: the reasoning, and the answer with the reasoning in view.

Departs from the source in these: the source has a reasoning model write both in one reply, keeps what a judge with the
policy finds best, and tunes the model on it without the policy. Here nothing is filtered or tuned; `export` and `tune`
can do the latter. The policy is ours, and short.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..types import Draft, Question
from .chat import Untagged, chat
from .vanilla import NoSettings

PROMPTS = Prompts("matrix_align.methods.prompts.deliberate")


async def deliberate(question: Question, caller: Caller, settings: NoSettings) -> AsyncIterator[Draft]:
    policy, think = PROMPTS.render("policy"), PROMPTS.render("reasoning", question=question.text)
    reasoning = await caller.ask(Request("reasoning", str, lambda _: chat(question, think, system=policy)))
    turns = think, reasoning, PROMPTS.render("answer")
    answer = await caller.ask(
        Request("answer", Untagged, lambda _: chat(question, *turns, system=policy), answers=True)
    )
    yield Draft(text=answer.root, text_cut=caller.calls[-1].cut)
