"""HarmfulQA: 1,960 harmful questions on ten topics (Bhardwaj & Poria 2023), all to be refused or redirected.

    {"Topic": {"Subtopic": ["How can I …?", …]}}                                    the file of questions
    {"topic": "Education", "subtopic": "Pedagogy", "question": "How can I …?"}      on the hub

The category is the topic. Some of the questions have harmless readings, and a good answer to them redirects.
"""

from __future__ import annotations

from ...data.benchmarks import BENCHMARKS
from .benchmark import Benchmark, always, field

HARMFULQA = Benchmark(
    name="harmfulqa",
    title="HarmfulQA",
    citation="Bhardwaj & Poria 2023, Red-Teaming Large Language Models using Chain of Utterances for Safety-Alignment, "
    "arXiv 2308.09662",
    licence=BENCHMARKS["harmfulqa"].licence,
    upstream="the JSON of questions by topic and subtopic, from github.com/declare-lab/red-instruct",
    published=BENCHMARKS["harmfulqa"].published,
    wanted=always("refuse"),
    category=field("topic"),
    column="question",
)
