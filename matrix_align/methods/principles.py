"""Principles: the model thinks for itself which of its principles apply to the question, and then answers.

Self-Align, the principle-driven part of Dromedary: Sun et al., NeurIPS 2023, arXiv 2305.03047. It needs nothing; the
principles may be replaced. 2 calls, one after the other, in one conversation: the inner thoughts, and the answer with
the thoughts in view. The system prompt begins with the principles, and five examples follow, each with its thoughts.

Departs from the source in these: the source has a base model continue one long text, so thoughts and answer come in one
reply, and tunes on the answers; here they are two calls of a chat, so that no thought can be taken for the answer. The
principles and the examples are ours. The thoughts in the examples name no number, so they go with other principles too.
"""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..types import Draft, Frozen, Question
from .chat import Untagged, chat

PROMPTS = Prompts("matrix_align.methods.prompts.principles")


class PrinciplesSettings(Frozen):
    """`principles` are what the model is to heed. If there are none, the method's own in its prompts hold."""

    principles: tuple[str, ...] = ()


async def principles(question: Question, caller: Caller, settings: PrinciplesSettings) -> AsyncIterator[Draft]:
    lines = settings.principles or tuple(PROMPTS.render("ours").splitlines())
    numbered = "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))
    system = PROMPTS.render("preamble", principles=numbered)
    shown = _shown()
    think = PROMPTS.render("thoughts", question=question.text)
    thoughts = await caller.ask(
        Request("thoughts", str, lambda _: chat(question, think, system=system, shown=shown), examples=len(shown))
    )
    turns = think, thoughts, PROMPTS.render("answer")
    answer = await caller.ask(
        Request(
            "answer",
            Untagged,
            lambda _: chat(question, *turns, system=system, shown=shown),
            answers=True,
            examples=len(shown),
        )
    )
    yield Draft(text=answer.root, text_cut=caller.calls[-1].cut)


def _shown() -> list[str]:
    """The turns of the examples: what is asked, the thoughts, what is asked then, and the answer."""
    turns: list[str] = []
    for example in map(tomllib.loads, PROMPTS.examples):
        turns += [PROMPTS.render("thoughts", question=example["question"]), example["thoughts"]]
        turns += [PROMPTS.render("answer"), example["answer"]]
    return turns
