"""The benchmarks, one declaration a file: where its questions are published, and what is wanted of an answer to each.

`named` finds one, `Benchmark.read` reads it from the hub at a fixed revision or from a file in the upstream form, and
`drawn` takes some of its questions. Knows no model and no score.
"""

from __future__ import annotations

from ...errors import InputError
from .advbench import ADVBENCH
from .benchmark import Benchmark, Item, Items, Wanted, drawn
from .harmfulqa import HARMFULQA
from .helpful import HELPFUL
from .hh_rlhf import HH_RLHF, HH_RLHF_HELPFUL
from .pku_saferlhf import PKU_SAFERLHF
from .xstest import XSTEST

__all__ = ["BENCHMARKS", "Benchmark", "Item", "Items", "Wanted", "drawn", "named"]

BENCHMARKS = {
    each.name: each for each in (ADVBENCH, HARMFULQA, HH_RLHF, HH_RLHF_HELPFUL, PKU_SAFERLHF, XSTEST, HELPFUL)
}


def named(name: str) -> Benchmark:
    """The benchmark of this name, written with hyphens or underscores. Raises InputError if there is none."""
    found = BENCHMARKS.get(name.strip().lower().replace("_", "-"))
    if not found:
        raise InputError(f"{name!r} is no benchmark; there are {', '.join(BENCHMARKS)}")
    return found
