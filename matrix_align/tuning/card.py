"""The model card of an adapter, as the Hugging Face hub has them: YAML, then text."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..data.card import MARK as EXPORTED
from .base import Base
from .data import Data, Method

CARD = "README.md"
MADE_BY = ("trl", "peft", "transformers", "torch")
MEASURED = "## Measured, before and after"
WAYS = {"sft": "supervised fine-tuning on the answers alone", "dpo": "direct preference optimisation (DPO)"}


def note_measured(folder: Path, table: str) -> None:
    """Puts a table of measurements, before and after, into the card of an adapter; of one that has our card.

    Rows of other measures that stand there already, under the same heads, stay.
    """
    path = folder / CARD
    with suppress(FileNotFoundError):
        text = path.read_text(encoding="utf-8")
        head, found, rest = text.partition(f"{MEASURED}\n\n")
        if found:
            was, _, tail = rest.partition("\n\n## ")
            rows, others = table.splitlines(), was.splitlines()
            if others[:2] == rows[:2]:
                told = {row.split("|")[1] for row in rows}
                rows += [row for row in others if row.split("|")[1] not in told]
            text = "\n".join([f"{head}{found}{rows[0]}", *rows[1:]])
            path.write_text(f"{text}\n\n## {tail}", encoding="utf-8")


def _of_scenes(data: Path) -> list[str]:
    """What the data are, where `export` has written them and says so in its card beside them."""
    with suppress(OSError, UnicodeDecodeError):
        text = (data.parent / CARD).read_text(encoding="utf-8")
        if EXPORTED in text and json.dumps(data.name) in text:
            return ["Its data were written in social scenes (MATRIX, Pang et al., ICML 2024, arXiv 2402.05699)."]
    return []


def card(
    method: Method,
    base: Base,
    figures: dict[str, Any],
    settings: dict[str, dict[str, Any]],
    train: Data,
    test: Data | None,
    seed: int,
) -> str:
    lines = ["---", "library_name: peft"]
    if base.where == base.name and not base.digest:  # a name on the hub
        lines.append(f"base_model: {base.name}")
    lines += ["tags: [matrix-align, self-alignment, lora]", "---", "", f"# {base.name}, tuned by matrix-align", ""]
    lines += [f"A LoRA of {base.name}, made by {WAYS[method]}.", *_of_scenes(train.path), ""]
    lines += [
        "| | |",
        "|---|---|",
        f"| base | {base.name} {base.digest[:12]} |".replace("  ", " "),
        f"| rows | {figures['rows']:,} of {train.path.name} ({train.digest[:12]}) |",
        f"| test rows | {len(test.rows):,} of {test.path.name}, not trained on |" if test else "| test rows | none |",
        f"| steps | {figures['steps']:,}, of {figures['batch']:,} rows each |",
    ]
    if loss := figures["loss"]:
        lines.append(
            f"| loss, mean of the first and of the last tenth of the steps | {loss['first']:.3f}, {loss['last']:.3f} |"
        )
    if test_loss := figures["test_loss"]:
        lines.append(
            f"| loss on the test rows, before and after | {test_loss['before']:.3f}, {test_loss['after']:.3f} |"
        )
    lines += [
        f"| time | {figures['seconds']:,.0f} s, {figures['tokens_per_second']:,} tokens/s |",
        f"| peak memory | {figures['peak_memory_gb']:.1f} GB |",
        "",
        MEASURED,
        "",
        "Not measured yet; `matrix-align measure --adapter` with `--against` writes its table here.",
        "",
        "## Files",
        "",
        "`adapter_model.safetensors` is PEFT's (vLLM: `--enable-lora --lora-modules tuned=.`)"
        f"{', `adapter.gguf` the same for llama.cpp' if base.gguf else ''};",
        "`merged/` and `merged.gguf`, where they are, the whole weights; `curves.png` the loss,",
        "`history.json` every step, `tune.toml` all settings.",
        "",
        "## Settings",
        "",
        f"- matrix-align {version('matrix-align')}, " + ", ".join(f"{name} {version(name)}" for name in MADE_BY),
        f"- seed = {seed}",
    ]
    for table, values in settings.items():
        lines += [f"- {table}: {name} = {json.dumps(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"
