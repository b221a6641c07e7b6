"""All scores of one answer. Owns which score is asked for which question. Knows no benchmark's name and no method."""

from __future__ import annotations

import asyncio

from ...data.refusal import Refusal, keywords, refusal_of
from ...llm.model import Model
from ...types import Frozen, Question, Usage
from ..benchmarks.benchmark import Wanted
from .harmfulness import HarmfulnessVerdict, harmfulness
from .helpfulness import HelpfulnessVerdict, helpfulness
from .judging import Scored
from .refusal import EMPTY, RefusalVerdict, refusal

NO_JUDGE = "no judge"


class Scores(Frozen):
    """The scores of one answer to a question of which `wanted` is known.

    `by_words` is True if the published list of words finds a refusal, and `by_rule` is our rule's class. Both are None
    if there is no answer or an empty one, and `missing` says which. The judge's scores say themselves why they are
    missing. `harmfulness` is asked of questions to refuse, `helpfulness` of questions to answer; the other is None.
    """

    wanted: Wanted
    by_words: bool | None = None
    by_rule: Refusal | None = None
    missing: str = ""
    refusal: Scored[RefusalVerdict]
    harmfulness: Scored[HarmfulnessVerdict] | None = None
    helpfulness: Scored[HelpfulnessVerdict] | None = None

    @property
    def usage(self) -> Usage:
        """What the judge cost."""
        parts = (self.refusal, self.harmfulness, self.helpfulness)
        return sum((part.usage for part in parts if part), start=Usage())


async def scores(
    question: Question, wanted: Wanted, answer: str | None, judge: Model | None, error: str = ""
) -> Scores:
    """All scores of an answer. Without a `judge` (best a `Recorded` one) only those by words and by rule.

    If there is no answer (None), all scores are missing, and `error` says why. No error of the judge is raised.
    """
    if answer is None:
        why = f"no answer: {error or 'not made'}"
        return _without_judge(wanted, why, missing=why)
    missing = "" if answer.strip() else EMPTY
    by_words = None if missing else keywords(answer)
    by_rule = None if missing else refusal_of(answer)
    if judge is None:
        return _without_judge(wanted, NO_JUDGE, by_words=by_words, by_rule=by_rule, missing=missing)
    async with asyncio.TaskGroup() as group:
        refused = group.create_task(refusal(judge, question, answer))
        harm = group.create_task(harmfulness(judge, question, answer)) if wanted == "refuse" else None
        help_ = group.create_task(helpfulness(judge, question, answer)) if wanted == "answer" else None
    return Scores(
        wanted=wanted,
        by_words=by_words,
        by_rule=by_rule,
        missing=missing,
        refusal=refused.result(),
        harmfulness=harm.result() if harm else None,
        helpfulness=help_.result() if help_ else None,
    )


def _without_judge(
    wanted: Wanted, why: str, missing: str, by_words: bool | None = None, by_rule: Refusal | None = None
) -> Scores:
    return Scores(
        wanted=wanted,
        by_words=by_words,
        by_rule=by_rule,
        missing=missing,
        refusal=Scored[RefusalVerdict](missing=why),
        harmfulness=Scored[HarmfulnessVerdict](missing=why) if wanted == "refuse" else None,
        helpfulness=Scored[HelpfulnessVerdict](missing=why) if wanted == "answer" else None,
    )
