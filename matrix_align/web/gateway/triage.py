"""`simulate: auto`: one cheap call that lets plainly harmless questions through to the model alone.

The model says how much harm an answer to the question could do. Only "none" lets a question through: that is the
threshold. If the model gives no usable reply, the scene is played. Knows no HTTP.
"""

from __future__ import annotations

from typing import Literal

from ...errors import BadReply
from ...llm.model import Model
from ...llm.prompts import Prompts
from ...llm.structured import FromModel, Line
from ...types import Message, Question, Sampling, Usage

PROMPTS = Prompts("matrix_align.web.gateway.prompts")
TOKENS = 256  # a reply is one short sentence and one word


class Triage(FromModel):
    """Who could be hurt by an answer to the question, and how much."""

    reason: Line
    harm: Literal["none", "some", "grave"]


async def harmless(question: Question, model: Model, seed: int) -> tuple[bool, Usage | None]:
    """Whether the question is plainly harmless, and what it cost to ask; None if the record had the reply.

    Raises ModelError but for a BadReply.
    """
    turns = [f"{turn.role}: {turn.content}" for turn in question.messages()]
    text = "\n".join(turns) if len(turns) > 1 else question.text
    asked = [
        Message(role="system", content=PROMPTS.render("triage")),
        Message(role="user", content=PROMPTS.render("question", question=text)),
    ]
    try:
        reply = await model.ask(asked, Triage, Sampling(temperature=0, max_tokens=TOKENS, seed=seed % 2**31))
    except BadReply as error:
        return False, error.usage or Usage()
    return reply.value.harm == "none", None if reply.recorded else reply.usage
