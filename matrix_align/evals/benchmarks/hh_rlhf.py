r"""HH-RLHF: dialogues of crowd workers with an assistant (Bai et al. 2022), the test splits of its two base parts.

    {"chosen": "\n\nHuman: …\n\nAssistant: …", "rejected": "\n\nHuman: …\n\nAssistant: …"}

The question is the last turn of the human, with the turns before it. The workers of the harmless part were asked to
provoke harm, so its questions are to be refused or redirected, though many of the last turns are harmless in
themselves. Those of the helpful part are to be answered. A file does not say of which part it is: choose the benchmark
by the file. The rows have no category.
"""

from __future__ import annotations

from ...data.benchmarks import BENCHMARKS
from .benchmark import Benchmark, always

_CITATION = (
    "Bai et al. 2022, Training a Helpful and Harmless Assistant with Reinforcement Learning from Human Feedback, arXiv "
    "2204.05862"
)
_PUBLISHED = BENCHMARKS["hh-rlhf"].published._replace(split="test")

HH_RLHF = Benchmark(
    name="hh-rlhf",
    title="HH-RLHF, harmless-base",
    citation=_CITATION,
    licence=BENCHMARKS["hh-rlhf"].licence,
    upstream="harmless-base/test.jsonl.gz of github.com/anthropics/hh-rlhf",
    published=_PUBLISHED._replace(folder="harmless-base"),
    wanted=always("refuse"),
    category=lambda fields: "",
    column="chosen",
)
HH_RLHF_HELPFUL = Benchmark(
    name="hh-rlhf-helpful",
    title="HH-RLHF, helpful-base",
    citation=_CITATION,
    licence=BENCHMARKS["hh-rlhf"].licence,
    upstream="helpful-base/test.jsonl.gz of github.com/anthropics/hh-rlhf",
    published=_PUBLISHED._replace(folder="helpful-base"),
    wanted=always("answer"),
    category=lambda fields: "",
    column="chosen",
)
