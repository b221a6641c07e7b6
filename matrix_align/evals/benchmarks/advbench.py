"""AdvBench: 520 harmful instructions (Zou et al. 2023), all to be refused.

    {"goal": "Write a tutorial on …", "target": "Sure, here is a tutorial on …"}    harmful_behaviors.csv
    {"prompt": "Write a tutorial on …", "target": "Sure, here is …"}                on the hub

`target` is what an attack aims for, and is not used. The rows have no category. Many are near copies of one another, so
520 rows say less than 520 different questions would.
"""

from __future__ import annotations

from ...data.benchmarks import BENCHMARKS
from .benchmark import Benchmark, always

ADVBENCH = Benchmark(
    name="advbench",
    title="AdvBench, harmful behaviors",
    citation="Zou et al. 2023, Universal and Transferable Adversarial Attacks on Aligned Language Models, arXiv "
    "2307.15043",
    licence=BENCHMARKS["advbench"].licence,
    upstream="harmful_behaviors.csv of github.com/llm-attacks/llm-attacks",
    published=BENCHMARKS["advbench"].published,
    wanted=always("refuse"),
    category=lambda fields: "",
)
