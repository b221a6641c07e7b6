"""Safe prompt: a preamble on safety in the system prompt, and nothing else.

As Llama 2's system prompt does (Touvron et al., 2023, arXiv 2307.09288, section 3.3 and appendix A). The closing prompt
of MATRIX's released code has such a preamble too, so what it does without a scene must be known. It needs nothing.
1 call. The preamble goes before the conversation's own system prompt, which is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..types import Draft, Question
from .chat import chat
from .vanilla import NoSettings

PROMPTS = Prompts("matrix_align.methods.prompts.safe_prompt")


async def safe_prompt(question: Question, caller: Caller, settings: NoSettings) -> AsyncIterator[Draft]:
    preamble = PROMPTS.render("preamble")
    text = await caller.ask(
        Request("answer", str, lambda _: chat(question, question.text, system=preamble), answers=True)
    )
    yield Draft(text=text, text_cut=caller.calls[-1].cut)
