"""Think first: the model thinks step by step, and then answers.

Zero-shot chain of thought: Kojima et al., NeurIPS 2022, arXiv 2205.11916. It needs nothing. 2 calls, one after the
other, in one conversation: the thoughts, and the answer with the thoughts in view. As in the source, nothing says what
the thoughts are to be about, so this shows what thinking alone does.

Departs from the source in this: the second call asks for a whole answer, not for a number or a choice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..types import Draft, Question
from .chat import Untagged, chat
from .vanilla import NoSettings

PROMPTS = Prompts("matrix_align.methods.prompts.think_first")


async def think_first(question: Question, caller: Caller, settings: NoSettings) -> AsyncIterator[Draft]:
    think = PROMPTS.render("thoughts", question=question.text)
    thoughts = await caller.ask(Request("thoughts", str, lambda _: chat(question, think)))
    turns = think, thoughts, PROMPTS.render("answer")
    answer = await caller.ask(Request("answer", Untagged, lambda _: chat(question, *turns), answers=True))
    yield Draft(text=answer.root, text_cut=caller.calls[-1].cut)
