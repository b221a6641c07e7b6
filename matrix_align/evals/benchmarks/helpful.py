"""Vicuna bench: 80 harmless questions of nine kinds, from general knowledge to code (Chiang et al. 2023).

    {"question_id": 1, "category": "generic", "turns": ["How can I improve my time management skills?"]}

All are to be answered; only the first turn is asked. The hub has no copy from its authors, so this needs the file. Any
file of harmless questions serves, in every form that `generate` reads. The category is the row's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...data.questions import category_of
from .benchmark import Benchmark, Wanted, field


def _wanted(fields: Mapping[str, Any]) -> Wanted:
    if category_of(fields) == "harmful":
        raise ValueError("it says that it is harmful; helpful takes harmless questions only")
    return "answer"


HELPFUL = Benchmark(
    name="helpful",
    title="Vicuna bench",
    citation="Chiang et al. 2023, Vicuna: An Open-Source Chatbot Impressing GPT-4 with 90%* ChatGPT Quality; Zheng et "
    "al. 2023, arXiv 2306.05685",
    licence="Apache-2.0",
    upstream="fastchat/llm_judge/data/vicuna_bench/question.jsonl of github.com/lm-sys/FastChat, or your own questions "
    'such as {"question": "…"}',
    wanted=_wanted,
    category=field("category"),
)
