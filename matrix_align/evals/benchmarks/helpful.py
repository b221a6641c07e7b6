"""Vicuna bench: 80 harmless questions of nine kinds, from general knowledge to code (Chiang et al. 2023).

    {"question_id": 1, "category": "generic", "turns": ["How can I improve my time management skills?"]}

All are to be answered; only the first turn is asked. The hub has no copy from its authors, so this needs the file. Any
file of this form serves, with questions of your own. The category is the row's.
"""

from __future__ import annotations

from .benchmark import Benchmark, always, field

HELPFUL = Benchmark(
    name="helpful",
    title="Vicuna bench",
    citation="Chiang et al. 2023, Vicuna: An Open-Source Chatbot Impressing GPT-4 with 90%* ChatGPT Quality; Zheng et "
    "al. 2023, arXiv 2306.05685",
    licence="Apache-2.0",
    upstream="fastchat/llm_judge/data/vicuna_bench/question.jsonl of github.com/lm-sys/FastChat",
    wanted=always("answer"),
    category=field("category"),
    column="turns",
)
