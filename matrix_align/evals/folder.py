"""One measurement in its folder: what identifies it, and how it continues after a stop.

Everything that decides the result identifies a measurement: the served model and its weights, the questions, the pairs
and the settings. The server's address and the files' places don't.
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

DESCRIBED, MARGINS = "measure.toml", "margins.jsonl"


@dataclass(frozen=True)
class Compared:
    """Pairs of replies, and the base whose weights judge which of two is likelier."""

    pairs: Pairs
    base: Base


@dataclass(frozen=True)
class Asked:
    """What to measure. `llm.open.open_model` takes the fields that name the model. `questions` are by category."""

    questions: Mapping[str, Sequence[Question]]
    scenes: int
    compared: Compared | None
    setup: Setup
    endpoint: str | None
    model: str | None
    digest: str | None
    adapter: Path | None


def measure_in(out: Path, asked: Asked) -> Measurement:
    """Measures, and writes the measurement to the folder `out`. Does not repeat what was done there before.

    Raises InputError if the folder holds another measurement, and ModelError if a server is at fault.
    """
    with provenance.locked(out, DESCRIBED):
        return _measure_in(out, asked)


def _measure_in(out: Path, asked: Asked) -> Measurement:
    if asked.questions:
        measurement = asyncio.run(_ask(out, asked))
    else:
        assert asked.compared, "there is something to measure"
        base = asked.compared.base
        _settle(out, asked)
        measurement = Measurement(model=base.name, digest=base.identity, settings=asked.setup.flat())
    if asked.compared:
        preferences = preferred(asked.compared.base, asked.adapter, asked.compared.pairs, out / MARGINS)
        measurement = measurement.model_copy(update={"preferred": preferences})
    write_measurement(measurement, out)
    return measurement


async def _ask(out: Path, asked: Asked) -> Measurement:
    async with open_model(asked.endpoint, asked.model, asked.adapter, asked.digest) as model:
        _settle(out, asked, model.name, model.digest, model.source)
        with Store(out / "record.db") as store:
            return await measure(model, asked.questions, asked.setup, asked.scenes, store)


def _settle(out: Path, asked: Asked, name: str = "", digest: str = "", source: str = "") -> None:
    """Notes what identifies the measurement, or compares it with the note in the folder.

    Notes too where weights were fetched, which may be another place the next time.
    """
    pairs = weights = fetched = ""
    if asked.compared:
        pairs = hashlib.sha256("\n".join(sorted(asked.compared.pairs.found)).encode()).hexdigest()[:16]
        weights, fetched = weights_of(asked.compared.base, asked.adapter), asked.compared.base.source
    questions = {category: digest_of(asked.questions.get(category, ())) for category in ("harmful", "benign")}
    mine: provenance.Tables = {
        "model": {"name": name, "digest": digest},
        "measure": {**questions, "scenes": asked.scenes, "preference": pairs, "weights": weights},
        **asked.setup.tables(),
    }
    beside: provenance.Tables = {"model": {"source": source or None}, "measure": {"weights_source": fetched or None}}
    begun = holds_calls(out / "record.db") or any((out / name).exists() for name in (FILE, MARGINS))
    provenance.settle(out / DESCRIBED, mine, "What is measured here.", "measurement", not begun, beside)
