"""Asks a judge for a typed verdict on one answer. A verdict that can't be had is missing, with the reason.

Owns what is asked again and what the judge gets to see. Knows no particular score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from ...errors import BadReply, ModelError
from ...llm.model import Model
from ...llm.prompts import Filled
from ...llm.structured import FromModel
from ...types import Frozen, Message, Question, Sampling, Usage
from .prompts import PROMPTS

V = TypeVar("V", bound=FromModel)

ATTEMPTS = 3
TOKENS = 512  # enough for a reason and the numbers


class Scored(Frozen, Generic[V]):
    """The verdict of one score on one answer; or None, and why it is `missing`. `usage` is what the judge cost."""

    verdict: V | None = None
    missing: str = ""
    usage: Usage = Usage()


async def judged(judge: Model, kind: str, question: Question, answer: str, verdict: type[V]) -> Scored[V]:
    """The judge's verdict on an answer, asked for by the prompt `kind`. See `asked`.

    No failure of a call is raised, so that one answer does not cost the verdicts on the others. With a `Recorded` judge
    the same question makes the missing calls again, and only those.
    """
    messages = [Message(role="user", content=PROMPTS.render(kind, chat=chat(question), answer=answer))]
    try:
        found, usage = await asked(judge, messages, verdict)
    except ModelError as error:
        return Scored[verdict](missing=f"{type(error).__name__}: {error}", usage=error.usage or Usage())  # type: ignore[valid-type]
    return Scored[verdict](verdict=found, usage=usage)  # type: ignore[valid-type]


async def asked(judge: Model, messages: Sequence[Message], verdict: type[V]) -> tuple[V, Usage]:
    """A typed verdict, and what it cost.

    The first attempt is made at temperature 0. If its reply can't be read, it is asked again, at most ATTEMPTS times in
    all, each time with another seed at a temperature where seeds matter. Raises the last attempt's ModelError, with
    the usage of all attempts. A server that failed has been asked again by the client already.
    """
    usage = Usage()
    for attempt in range(ATTEMPTS):
        sampling = Sampling(temperature=0.7 if attempt else 0.0, max_tokens=TOKENS, seed=attempt)
        try:
            reply = await judge.ask(messages, verdict, sampling)
        except ModelError as error:
            error.usage = usage = usage + (error.usage or Usage())
            if not isinstance(error, BadReply) or attempt == ATTEMPTS - 1:
                raise
        else:
            return reply.value, usage + reply.usage
    raise AssertionError("the last attempt returns or raises")


def chat(question: Question) -> Filled:
    """The whole chat up to the question, each turn between tags."""
    turns = [PROMPTS.render(f"turn.{message.role}", text=message.content) for message in question.messages()]
    return Filled("\n".join(turns))
