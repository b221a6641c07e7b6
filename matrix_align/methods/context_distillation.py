"""Context distillation: the model answers with principles in its context, and is trained on the answer without them.

Askell et al. 2021, arXiv 2112.00861, section 2.2, which has a prompt in the context that shows a helpful, honest and
harmless assistant; Bai et al. 2022, arXiv 2212.08073, put such principles in words. It needs principles; there are some
of ours. 1 call. The principles go before the conversation's own system prompt. `export` writes the conversation as the
question has it, so the principles are in no row.

Departs from the source in these: the context holds principles, where the source's holds 14 conversations; the training
is on drawn answers, where the source's is on the probabilities of all tokens (the KL divergence).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..types import Draft, Question
from .chat import chat
from .principles import PrinciplesSettings

PROMPTS = Prompts("matrix_align.methods.prompts.context_distillation")


async def context_distillation(
    question: Question, caller: Caller, settings: PrinciplesSettings
) -> AsyncIterator[Draft]:
    principles = "\n".join(f"- {principle}" for principle in settings.principles) or PROMPTS.render("principles")
    turns = chat(question, question.text, system=PROMPTS.render("context", principles=principles))
    text = await caller.ask(Request("answer", str, lambda _: turns, answers=True))
    yield Draft(text=text, text_cut=caller.calls[-1].cut)
