"""What several methods do with a conversation: ask in it, ask about it, and keep answers with how they ended.

A method answers the person who asked, so its answers are written inside the conversation: the system prompt and the
turns before stay. A judge stands outside: it gets the conversation as a text. Knows no method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..llm.caller import Caller, Request
from ..llm.structured import Prose
from ..types import Cut, Message, Question

WHO = {"system": "Instruction", "user": "User", "assistant": "Assistant"}


@dataclass(frozen=True)
class Written:
    """An answer that was written, and why it stopped early, if it did."""

    text: str
    cut: Cut = ""


async def written(caller: Caller, requests: Sequence[Request[str]] | Sequence[Request[Prose]]) -> list[Written]:
    """The answers to requests made at the same time, in their order. Raises what `Caller.all` raises."""
    texts: list[str | Prose] = await caller.all(requests)  # type: ignore[arg-type]
    calls = caller.calls[len(caller.calls) - len(requests) :]
    return [
        Written(text if isinstance(text, str) else text.root, call.cut) for text, call in zip(texts, calls, strict=True)
    ]


def instead(question: Question, task: str) -> list[Message]:
    """The conversation with `task` in place of its last question."""
    return [*question.messages()[:-1], Message(role="user", content=task)]


def under(question: Question, instruction: str) -> list[Message]:
    """The conversation under a further instruction, which goes before its own system prompt."""
    whole = f"{instruction}\n\n{question.system}" if question.system else instruction
    return question.model_copy(update={"system": whole}).messages()


def transcript(question: Question) -> str:
    """The conversation as a text. A question without history is its own text alone."""
    turns = question.messages()
    if len(turns) == 1:
        return question.text
    return "\n\n".join(f"{WHO[turn.role]}: {turn.content}" for turn in turns)
