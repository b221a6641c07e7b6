"""How the methods talk with the model: in the conversation that the question came in, with its system prompt.

A method puts turns of its own in place of the question. What the model wrote is its turn, and what we ask is the
user's. Knows no particular method.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import field_validator

from ..llm.structured import Prose
from ..simulation.revise import TAGS
from ..types import Message, Question


class Untagged(Prose):
    """An answer to the question, without tags of a prompt."""

    @field_validator("root", mode="before")
    @classmethod
    def _without_tags(cls, text: str) -> str:
        return TAGS.sub("", text).strip()

    @classmethod
    def so_far(cls, text: str) -> str:
        return TAGS.sub("", text).strip()


def chat(question: Question, *turns: str, system: str = "", shown: Sequence[str] = ()) -> list[Message]:
    """The conversation with `turns` in place of the question: ours first, then the model's, and so on in turn.

    `system` goes before the conversation's system prompt. `shown` are the turns of examples, which go before its
    history.
    """
    both = "\n\n".join(filter(None, (system, question.system)))
    first = [Message(role="system", content=both)] if both else []
    return [*first, *_in_turn(shown), *question.history, *_in_turn(turns)]


def _in_turn(turns: Sequence[str]) -> list[Message]:
    return [Message(role="assistant" if place % 2 else "user", content=turn) for place, turn in enumerate(turns)]
