"""Whether an answer refuses: in full, in part, or not.

`refusal_of` is our rule, which is used everywhere. `keywords` is the published list, for comparison with published
figures. Both read the answer alone, without the question, so they can't know whether a text on another subject is the
help that was asked for. docs/evaluation.md says how well they do; a judge (evals/scores) reads both.
"""

from __future__ import annotations

from .keywords import KEYWORDS, PREFIXES, keywords
from .rule import Refusal, refusal_of

__all__ = ["KEYWORDS", "PREFIXES", "Refusal", "keywords", "refusal_of", "refuses"]


def refuses(answer: str) -> bool:
    """Whether an answer refuses in full, by our rule."""
    return refusal_of(answer) == "full"
