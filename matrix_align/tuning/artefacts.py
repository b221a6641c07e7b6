"""The files made from a trained adapter: the LoRA for llama.cpp, merged weights, curves, model card and history.

Each file and folder appears under its name only when it is complete. Trains nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..llm.open import ADAPTER
from ..types import shorten
from . import base as bases
from . import llamacpp
from .checkpoints import HISTORY
from .curves import draw
from .model_card import CARD
from .quiet import quiet

MERGED, MERGED_GGUF = "merged", "merged.gguf"


def write_weights(out: Path, base: bases.Base, merge: bool, gguf: bool) -> None:
    """Writes the adapter for llama.cpp, and the merged weights that the user asked for, unless they exist."""
    if base.gguf:
        lora, file = llamacpp.converted(out, base.gguf), base.gguf
        _write_once(out / ADAPTER, lambda part: llamacpp.adapter(lora, base.sha256, part))
        if gguf:
            _write_once(out / MERGED_GGUF, lambda part: llamacpp.merged(lora, file, part))
    if merge:
        _write_once(out / MERGED, lambda part: _merge(out, base, part))


def _merge(adapter: Path, base: bases.Base, made: Path) -> None:
    """Merges the adapter into the base's own weights. During the training they may have been in 4 bits."""
    from safetensors import SafetensorError

    with quiet():
        merged = bases.with_adapter(base, bases.model(base), adapter).merge_and_unload()
        try:
            bases.rounded(merged, bases.dtype()).save_pretrained(made)
        except SafetensorError as error:  # not an OSError: its own class, also for a full disk
            raise InputError(f"can't write {made}: {shorten(str(error), 200)}") from None
        bases.tokenizer(base).save_pretrained(made)


def finish(
    out: Path, base: bases.Base, merge: bool, gguf: bool, card: str, figures: dict[str, Any], log: list[dict[str, Any]]
) -> None:
    """Corrects the trainer's files and writes the others. Writes the history last."""
    described = out / "adapter_config.json"
    # PEFT's card is an unfilled form. The other file is a pickle, and tune.toml holds the same settings.
    for theirs in (CARD, "training_args.bin"):
        (out / theirs).unlink(missing_ok=True)
    (out / "adapter_model.safetensors").chmod(described.stat().st_mode)  # otherwise only its owner could read it
    for made in (ADAPTER, MERGED_GGUF):  # may be from an earlier start, made from another adapter
        (out / made).unlink(missing_ok=True)
    shutil.rmtree(out / MERGED, ignore_errors=True)
    adapter = json.loads(described.read_text(encoding="utf-8"))
    adapter["base_model_name_or_path"] = base.name if base.gguf else base.where
    described.write_text(json.dumps(adapter, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    write_weights(out, base, merge, gguf)
    draw(log, out / "curves.png")
    (out / CARD).write_text(card, encoding="utf-8")
    history = json.dumps({"figures": figures, "log": log}, indent=1)

    def write(part: Path) -> None:
        part.write_text(history, encoding="utf-8")

    _write_once(out / HISTORY, write)


def _write_once(made: Path, write: Callable[[Path], None]) -> None:
    """Writes a file or a folder unless it exists. It gets its name only when it is complete."""
    if made.exists():
        return
    part = made.with_name(f".{made.name}.part")
    if part.is_dir():
        shutil.rmtree(part)
    write(part)
    part.replace(made)
