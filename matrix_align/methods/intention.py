"""Intention: the model states the essential intention of the question, and then answers with it in view.

Intention Analysis: Zhang et al., COLING 2025, arXiv 2401.06561, in its two-stage form. It needs nothing. 2 calls, one
after the other, in one conversation: the essential intention, with an eye to safety, ethics and law, and no answer yet;
then the answer, which has to keep to a policy.

Departs from the source in this: the source names its vendor's policy, which another model does not know. Here the
policy is one sentence in the prompt.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..types import Draft, Question
from .chat import Untagged, chat
from .vanilla import NoSettings

PROMPTS = Prompts("matrix_align.methods.prompts.intention")


async def intention(question: Question, caller: Caller, settings: NoSettings) -> AsyncIterator[Draft]:
    ask = PROMPTS.render("intention", question=question.text)
    stated = await caller.ask(Request("intention", str, lambda _: chat(question, ask)))
    turns = ask, stated, PROMPTS.render("answer")
    answer = await caller.ask(Request("answer", Untagged, lambda _: chat(question, *turns), answers=True))
    yield Draft(text=answer.root, text_cut=caller.calls[-1].cut)
