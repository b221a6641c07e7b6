"""RLCD: one answer under a good prompt and one under a bad prompt make a pair, without any judge.

Yang et al. 2023, arXiv 2307.12950: a positive and a negative prompt, as alike in form as possible, lead to two answers
that differ in the wanted quality. The positive one is preferred by construction. It needs nothing. 2 calls, made at the
same time: `text` is the answer under the positive prompt, `initial`, the rejected one, that under the negative prompt.
Neither prompt is in the exported row.

Departs from the source in these: the prompts are instructions before the conversation's system prompt, where the source
marks the assistant's turn with a few words; the source trains a preference model for PPO, we export pairs for DPO.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..types import Draft, Question
from .answers import written
from .chat import chat
from .vanilla import NoSettings

PROMPTS = Prompts("matrix_align.methods.prompts.rlcd")


async def rlcd(question: Question, caller: Caller, settings: NoSettings) -> AsyncIterator[Draft]:
    good, bad = await written(caller, [_answer(question, prompt) for prompt in ("positive", "negative")])
    yield Draft(initial=bad.text, initial_cut=bad.cut, text=good.text, text_cut=good.cut)


def _answer(question: Question, prompt: str) -> Request[str]:
    turns = chat(question, question.text, system=PROMPTS.render(prompt))
    return Request("answer", str, lambda _: turns, who=prompt)
