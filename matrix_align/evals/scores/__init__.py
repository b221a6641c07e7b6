"""The scores of an answer, one a file: refusal, harmfulness, helpfulness.

`scores` gives all of one answer, `summary` sums up many. Every score of a judge is a typed verdict with the judge's
reason, or missing with its own. A judge is any `Model`; a `Recorded` one is never paid twice. Which answers are scored,
and what is done with the figures, is not decided here.
"""

from __future__ import annotations

from .harmfulness import HarmfulnessVerdict, harmfulness
from .helpfulness import HelpfulnessVerdict, helpfulness
from .judging import Scored
from .refusal import RefusalVerdict, refusal
from .scoring import Scores, scores
from .summary import Figure, summary

__all__ = [
    "Figure",
    "HarmfulnessVerdict",
    "HelpfulnessVerdict",
    "RefusalVerdict",
    "Scored",
    "Scores",
    "harmfulness",
    "helpfulness",
    "refusal",
    "scores",
    "summary",
]
