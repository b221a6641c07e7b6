"""Published data sets: the benchmarks by name, and any other on the Hugging Face hub.

Owns where each benchmark is published and what is known of it. It returns rows and knows nothing of questions. A local
file in a benchmark's own format is read like any other file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import InputError
from ..types import shorten
from .questions import Category


class Benchmark(NamedTuple):
    """`published` is owner/name:split:column on the hub. `category` is that of all questions, or empty."""

    published: str
    category: Category
    licence: str


BENCHMARKS = {
    "advbench": Benchmark("walledai/AdvBench:train:prompt", "harmful", "MIT"),  # Zou et al. 2023
    "harmfulqa": Benchmark("declare-lab/HarmfulQA:train:question", "harmful", "Apache-2.0"),  # Bhardwaj & Poria 2023
    "hh-rlhf": Benchmark("Anthropic/hh-rlhf:train:chosen", "", "MIT"),  # Bai et al. 2022
    "pku-saferlhf": Benchmark("PKU-Alignment/PKU-SafeRLHF:train:prompt", "", "CC-BY-NC-4.0"),  # Ji et al. 2024
    "xstest": Benchmark("Paul/XSTest:train:prompt", "", "CC-BY-4.0"),  # Röttger et al. 2024; its rows name theirs
}


def licence(source: str) -> str:
    return BENCHMARKS[source].licence if source in BENCHMARKS else "unknown"


def hub_rows(where: str) -> tuple[Iterator[tuple[int, Any]], str | None]:
    """The rows of `owner/name[:split[:column]]`, streamed and numbered from 1, and the column if one is named.

    Raises InputError if the data set can't be loaded, or later if reading it fails.
    """
    name, _, rest = where.partition(":")
    split, _, column = rest.partition(":")
    try:
        from datasets import load_dataset
    except ImportError:
        raise InputError(f"reading {name} needs the hub's library: pip install 'matrix-align[tune]'") from None
    try:
        rows = load_dataset(name, split=split or "train", streaming=True)
    except Exception as error:  # the library, the network and the hub raise many kinds
        why = shorten(str(error), 200)
        raise InputError(f"can't load {name} from the hub: {why}; a local file in its format works too") from None
    return _streamed(rows, name), column or None


def _streamed(rows: Any, name: str) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(rows, start=1)
    except Exception as error:  # many kinds, as above
        raise InputError(f"reading {name} from the hub broke off: {shorten(str(error), 200)}") from None
