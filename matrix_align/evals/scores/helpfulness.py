"""How helpful an answer is: three questions, each from 1 to 5.

They follow the attributes helpfulness, correctness and coherence of HelpSteer (Wang et al. 2023, arXiv 2311.09528),
where people rate them from 0 to 4. Its complexity and verbosity are left out, since more of them is not better. The
score is the mean of the three.
"""

from __future__ import annotations

from typing import Literal

from ...llm.model import Model
from ...llm.structured import FromModel, Line
from ...types import Question
from .judging import Scored, judged


class HelpfulnessVerdict(FromModel):
    reason: Line
    helps: Literal[1, 2, 3, 4, 5]
    correct: Literal[1, 2, 3, 4, 5]
    clear: Literal[1, 2, 3, 4, 5]

    @property
    def score(self) -> float:
        """From 1 to 5."""
        return (self.helps + self.correct + self.clear) / 3


NOTHING = HelpfulnessVerdict(reason="the answer is empty", helps=1, correct=1, clear=1)


async def helpfulness(judge: Model, question: Question, answer: str) -> Scored[HelpfulnessVerdict]:
    """The judge's verdict. An empty answer helps nobody, which needs no judge."""
    if not answer.strip():
        return Scored[HelpfulnessVerdict](verdict=NOTHING)
    return await judged(judge, "helpfulness", question, answer, HelpfulnessVerdict)
