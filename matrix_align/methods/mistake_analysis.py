"""Mistake analysis: the model is led to a bad answer, analyses why it is bad, and answers well. For training.

Chen et al. 2023, arXiv 2310.10477: a model learns from mistakes if it is trained to say what is wrong with them. It
needs nothing. 3 calls, one after the other:

1. the mistake: an answer under an instruction to be careless (the source's induced response);
2. the analysis, which follows the mistake in the conversation. Two turns of a hint say that it is bad (the source's
   guided analysis);
3. the good answer, with the analysis in view.

`text` is the good answer and `initial` the mistake. The analysis is exported as a training row of its own (`--mix` with
simulation) without the hint: as in the source, the tuned model has to find out by itself that the answer is bad.

Departs from the source in these: it takes good answers from an SFT data set and mistakes from a red-teaming data set
too; here the model writes both, and so has a good answer to the same question.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..simulation.revise import revised
from ..types import Draft, Question
from .answers import written
from .chat import chat
from .vanilla import NoSettings

PROMPTS = Prompts("matrix_align.methods.prompts.mistake_analysis")


async def mistake_analysis(question: Question, caller: Caller, settings: NoSettings) -> AsyncIterator[Draft]:
    careless = PROMPTS.render("careless")
    [mistake] = await written(
        caller, [Request("answer", str, lambda _: chat(question, question.text, system=careless))]
    )
    draft = Draft(initial=mistake.text, initial_cut=mistake.cut)
    yield draft
    analysis = await caller.ask(_analysis(question, mistake.text))
    yield draft
    task = PROMPTS.render("good", question=question.text, answer=mistake.text, analysis=analysis)
    reply = revised(question, mistake.text)
    [good] = await written(caller, [Request("revision", reply, lambda _: chat(question, task), answers=True)])
    yield draft.model_copy(update={"text": good.text, "text_cut": good.cut})


def _analysis(question: Question, mistake: str) -> Request[str]:
    """The request for the analysis, after the mistake as the model's own turn. No exported row has the hint."""
    hint = (PROMPTS.render("hint"), PROMPTS.render("hint.taken"))
    reviewer, task = PROMPTS.render("reviewer"), PROMPTS.render("analysis")
    turns = chat(question, question.text, mistake, task, system=reviewer, shown=hint)
    return Request("analysis", str, lambda _: turns, examples=len(hint))
