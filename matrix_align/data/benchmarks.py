"""Published data sets: the benchmarks by name, and any other on the Hugging Face hub.

Owns where each benchmark is published, in which revision, and what is known of it. It returns rows and knows nothing of
questions. A local file in a benchmark's own format is read like any other file. evals/benchmarks says what is expected
of an answer to each question.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import InputError
from ..types import shorten
from .questions import Category


class Published(NamedTuple):
    """A data set of the hub: which part of it, which column holds the question, and which commit.

    `folder` is a folder of the repository, if its parts have folders of their own. Without a `revision` the newest is
    read.
    """

    name: str
    split: str = "train"
    column: str | None = None
    revision: str = ""
    folder: str = ""


class Benchmark(NamedTuple):
    """`category` is that of all questions, or empty."""

    published: Published
    category: Category
    licence: str


BENCHMARKS = {
    "advbench": Benchmark(  # Zou et al. 2023
        Published("walledai/AdvBench", column="prompt", revision="9d4730540082fa4017450b65ca1c0e1d8d30446e"),
        "harmful",
        "MIT",
    ),
    "harmfulqa": Benchmark(  # Bhardwaj & Poria 2023
        Published("declare-lab/HarmfulQA", column="question", revision="6f1a78aed47d16c0695e4595d0159abc38197bfd"),
        "harmful",
        "Apache-2.0",
    ),
    "hh-rlhf": Benchmark(  # Bai et al. 2022
        Published("Anthropic/hh-rlhf", column="chosen", revision="09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa"),
        "",
        "MIT",
    ),
    "pku-saferlhf": Benchmark(  # Ji et al. 2024
        Published("PKU-Alignment/PKU-SafeRLHF", column="prompt", revision="9421ffafec3fa40a1f1a7d567b4d525079477ecb"),
        "",
        "CC-BY-NC-4.0",
    ),
    "xstest": Benchmark(  # Röttger et al. 2024; its rows name theirs
        Published("Paul/XSTest", column="prompt", revision="f600c994b256f12867dfa5b3eb3d545a3e62f8b5"),
        "",
        "CC-BY-4.0",
    ),
}


def licence(source: str) -> str:
    return BENCHMARKS[source].licence if source in BENCHMARKS else "unknown"


def published(where: str) -> Published:
    """The data set that `owner/name[:split[:column]]` names."""
    name, _, rest = where.partition(":")
    split, _, column = rest.partition(":")
    return Published(name, split or "train", column or None)


def hub_rows(where: Published) -> Iterator[tuple[int, Any]]:
    """The rows of a data set of the hub, streamed and numbered from 1.

    Raises InputError if the data set can't be loaded, or later if reading it fails.
    """
    name = where.name
    try:
        from datasets import load_dataset
    except ImportError:
        raise InputError(f"reading {name} needs the hub's library: pip install 'matrix-align[tune]'") from None
    chosen = {"revision": where.revision, "data_dir": where.folder}
    options = {key: value for key, value in chosen.items() if value}
    try:
        rows = load_dataset(name, split=where.split, streaming=True, **options)
    except Exception as error:  # the library, the network and the hub raise many kinds
        why = shorten(str(error), 200)
        raise InputError(f"can't load {name} from the hub: {why}; a local file in its format works too") from None
    return _streamed(rows, name)


def _streamed(rows: Any, name: str) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(rows, start=1)
    except Exception as error:  # many kinds, as above
        raise InputError(f"reading {name} from the hub broke off: {shorten(str(error), 200)}") from None
