"""Answers that a method collects before it decides: as they were written, and the conversation as a judge reads it.

Knows no particular method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..llm.caller import Caller, Request
from ..llm.structured import Prose
from ..types import Cut, Question

SPEAKERS = {"system": "Instruction", "user": "User", "assistant": "Assistant"}


@dataclass(frozen=True)
class Written:
    """An answer that was written, and why it stopped early, if it did."""

    text: str
    cut: Cut = ""


async def written(caller: Caller, requests: Sequence[Request[Any]]) -> list[Written]:
    """The answers to requests for text made at the same time, in their order. Raises what `Caller.all` raises."""
    texts: list[str | Prose] = await caller.all(requests)
    calls = caller.calls[len(caller.calls) - len(requests) :]
    return [
        Written(text if isinstance(text, str) else text.root, call.cut) for text, call in zip(texts, calls, strict=True)
    ]


def transcript(question: Question) -> str:
    """The conversation as a text, for a judge, who is not part of it. A question alone is its own text."""
    turns = question.messages()
    if len(turns) == 1:
        return question.text
    return "\n\n".join(f"{SPEAKERS[turn.role]}: {turn.content}" for turn in turns)
