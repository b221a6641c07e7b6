"""One measurement in its folder: what identifies it there, and going on where it was stopped.

A measurement is identified by what decides its result: the model and its weights as it is served, the questions and
pairs themselves, the settings. Where the model is served, and where the files lie, is no part of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import provenance
from ..data.split import digest_of
from ..llm.open import open_model
from ..methods import Setup
from ..store import Store, holds_calls
from ..tuning.base import Base
from ..types import Question
from .answers import measure
from .measurement import FILE, Measurement, write_measurement
from .preference import Pairs, preferred, weights_of

MARGINS = "margins.jsonl"


@dataclass(frozen=True)
class Compared:
    """Pairs of replies, and the weights that are to say which of two is the likelier."""

    pairs: Pairs
    base: Base


@dataclass(frozen=True)
class Asked:
    """What is to be measured. The model is named as `llm.open.open_model` takes it; `questions` are by category."""

    questions: Mapping[str, Sequence[Question]]
    scenes: int
    compared: Compared | None
    setup: Setup
    endpoint: str | None
    model: str | None
    digest: str | None
    adapter: Path | None


def measure_in(out: Path, asked: Asked) -> Measurement:
    """The measurement, written to the folder `out`; what was done there before is not done again.

    Raises InputError where the folder holds another one, and ModelError where a server is at fault.
    """
    with provenance.locked(out):
        return _measure_in(out, asked)


def _measure_in(out: Path, asked: Asked) -> Measurement:
    if asked.questions:
        measurement = asyncio.run(_ask(out, asked))
    else:
        assert asked.compared, "there is something to measure"
        base = asked.compared.base
        _settle(out, asked, "", "")
        measurement = Measurement(model=base.name, digest=base.identity, settings=asked.setup.flat())
    if asked.compared:
        found = preferred(asked.compared.base, asked.adapter, asked.compared.pairs, out / MARGINS)
        measurement = measurement.model_copy(update={"preferred": found})
    write_measurement(measurement, out)
    return measurement


async def _ask(out: Path, asked: Asked) -> Measurement:
    async with open_model(asked.endpoint, asked.model, asked.adapter, asked.digest) as model:
        _settle(out, asked, model.name, model.digest)
        with Store(out / "record.db") as store:
            return await measure(model, asked.questions, asked.setup, asked.scenes, store)


def _settle(out: Path, asked: Asked, name: str, digest: str) -> None:
    """Writes down what identifies the measurement, or compares it with what the folder holds."""
    pairs = weights = ""
    if asked.compared:
        pairs = hashlib.sha256("\n".join(sorted(asked.compared.pairs.found)).encode()).hexdigest()[:16]
        weights = weights_of(asked.compared.base, asked.adapter)
    questions = {category: digest_of(asked.questions.get(category, ())) for category in ("harmful", "benign")}
    mine: provenance.Tables = {
        "model": {"name": name, "digest": digest},
        "measure": {**questions, "scenes": asked.scenes, "preference": pairs, "weights": weights},
        **asked.setup.tables(),
    }
    begun = holds_calls(out / "record.db") or any((out / name).exists() for name in (FILE, MARGINS))
    provenance.settle(out / "measure.toml", mine, "What is measured here.", "measurement", not begun)
