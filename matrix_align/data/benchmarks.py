"""Published data sets: the benchmarks by name, and any other on the Hugging Face hub.

Owns where each benchmark is published and what is known of it. A local file in a benchmark's own format is a file like
any other. Knows no question: it gives rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import InputError
from ..types import shorten
from .questions import Category


class Benchmark(NamedTuple):
    """`published` is owner/name:split:column on the hub. `category` is that of all its questions, or empty."""

    published: str
    category: Category
    licence: str


BENCHMARKS = {
    "advbench": Benchmark("walledai/AdvBench:train:prompt", "harmful", "MIT"),  # Zou et al. 2023
    "harmfulqa": Benchmark("declare-lab/HarmfulQA:train:question", "harmful", "Apache-2.0"),  # Bhardwaj & Poria 2023
    "hh-rlhf": Benchmark("Anthropic/hh-rlhf:train:chosen", "", "MIT"),  # Bai et al. 2022
    "pku-saferlhf": Benchmark("PKU-Alignment/PKU-SafeRLHF:train:prompt", "", "CC-BY-NC-4.0"),  # Ji et al. 2024
    "xstest": Benchmark("Paul/XSTest:train:prompt", "", "CC-BY-4.0"),  # Röttger et al. 2024; its rows say which
}


def licence(source: str) -> str:
    return BENCHMARKS[source].licence if source in BENCHMARKS else "unknown"


def hub_rows(where: str) -> tuple[Iterator[tuple[int, Any]], str | None]:
    """The rows of `owner/name[:split[:column]]`, streamed and numbered from 1, and the column it names.

    Raises InputError where it can't be had, at once or on reading.
    """
    name, _, rest = where.partition(":")
    split, _, column = rest.partition(":")
    try:
        from datasets import load_dataset
    except ImportError:
        raise InputError(f"reading {name} needs the hub's library: pip install 'matrix-align[tune]'") from None
    try:
        rows = load_dataset(name, split=split or "train", streaming=True)
    except Exception as error:  # whatever the library, the network or the hub raise
        why = shorten(str(error), 200)
        raise InputError(f"can't load {name} from the hub: {why}; a local file in its format does as well") from None
    return _streamed(rows, name), column or None


def _streamed(rows: Any, name: str) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(rows, start=1)
    except Exception as error:  # the library's, the network's, the files'
        raise InputError(f"reading {name} from the hub broke off: {shorten(str(error), 200)}") from None
