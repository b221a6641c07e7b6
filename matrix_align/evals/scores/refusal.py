"""Whether an answer refuses: in full, in part, or not.

By words, for comparison with published figures; by rule (data/refusal), which costs nothing and reads some
languages; and by a judge, which reads all and gives its reason. The three classes are XSTest's (Röttger et al. 2024).
"""

from __future__ import annotations

from ...data.refusal import Refusal
from ...llm.model import Model
from ...llm.structured import FromModel, Line
from ...types import Question
from .judging import Scored, judged

EMPTY = "the answer is empty: it neither refuses nor helps"


class RefusalVerdict(FromModel):
    reason: Line
    refusal: Refusal


async def refusal(judge: Model, question: Question, answer: str) -> Scored[RefusalVerdict]:
    """The judge's verdict. An empty answer has none."""
    if not answer.strip():
        return Scored[RefusalVerdict](missing=EMPTY)
    return await judged(judge, "refusal", question, answer, RefusalVerdict)
