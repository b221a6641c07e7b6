"""How a killed tuning is recognised and continued: by the note of its settings and the trainer's checkpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .. import provenance
from ..errors import InputError
from .base import PROVENANCE, Base

NOTE = "How this adapter is tuned. `matrix-align tune` with the same options continues it."
FOLDER = "checkpoints"
HISTORY = "history.json"  # written last, so it marks a finished tuning


def settle(out: Path, base: Base, settings: provenance.Tables) -> None:
    """Notes in the folder `out` how this tuning is done. Raises InputError if it holds anything else."""
    try:
        others = [path.name for path in out.glob("*") if not path.name.startswith(".")]
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can't make the folder --out {out}: {error.strerror}") from None
    noted = out / PROVENANCE
    if others and not noted.exists():
        raise InputError(f"{out} holds other files; give --out a folder of its own")
    of_base = {"name": base.name, "digest": base.digest}
    before = provenance.tables_in(noted).get("base", {})
    if base.chat and ("chat" in before or not before):  # version 0.1 did not note it
        of_base["chat"] = base.chat
    nothing_done = not (newest(out) or (out / HISTORY).exists())
    beside: provenance.Tables = {"base": {"source": base.source or None}}
    provenance.settle(noted, {"base": of_base, **settings}, NOTE, "tuning", nothing_done, beside)


def processes() -> int:
    """The number of processes that train together, each on its own GPU. `accelerate launch` sets it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def newest(out: Path) -> Path | None:
    """The newest complete checkpoint. One that was cut short lacks its last file, or the file of some process."""
    complete = [path for path in (out / FOLDER).glob("checkpoint-*") if _complete(path)]
    return max(complete, key=lambda path: int(path.name.split("-")[1]), default=None)


def _complete(checkpoint: Path) -> bool:
    several = range(processes() if processes() > 1 else 0)
    if not all((checkpoint / f"rng_state_{number}.pth").exists() for number in several):
        return False
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
