"""The model card of an adapter, in the form of the Hugging Face hub: YAML, then text."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..data.data_card import files_described
from .base import Base
from .examples import Examples, Method

CARD = "README.md"
MADE_BY = ("trl", "peft", "transformers", "torch")
MEASURED = "## Measured, before and after"
WAYS = {"sft": "supervised fine-tuning on the answers alone", "dpo": "direct preference optimisation (DPO)"}


def note_measured(folder: Path, table: str) -> None:
    """Puts a table of measurements, before and after, into an adapter's model card, if that card is ours.

    If the card has a table with the same columns, its rows for other metrics stay.
    """
    path = folder / CARD
    with suppress(FileNotFoundError):
        text = path.read_text(encoding="utf-8")
        head, heading, rest = text.partition(f"{MEASURED}\n\n")
        if heading:
            before, _, tail = rest.partition("\n\n## ")
            rows, earlier = table.splitlines(), before.splitlines()
            if earlier[:2] == rows[:2]:
                measures = {row.split("|")[1] for row in rows}
                rows += [row for row in earlier if row.split("|")[1] not in measures]
            text = "\n".join([f"{head}{heading}{rows[0]}", *rows[1:]])
            path.write_text(f"{text}\n\n## {tail}", encoding="utf-8")


def _of_scenes(data: Path) -> list[str]:
    """A line on where the data come from, if a data card of `export` beside them names them."""
    with suppress(OSError, UnicodeDecodeError):
        text = (data.parent / CARD).read_text(encoding="utf-8")
        if data.name in (files_described(text) or ()):
            return ["Its data were written in social scenes (MATRIX, Pang et al., ICML 2024, arXiv 2402.05699)."]
    return []


def model_card(
    method: Method,
    base: Base,
    figures: dict[str, Any],
    settings: dict[str, dict[str, Any]],
    train: Examples,
    test: Examples | None,
    seed: int,
) -> str:
    """The card of an adapter: what it was made from, and how. `figures` are those that `tune` returns."""
    from huggingface_hub import ModelCard, ModelCardData

    on_hub = base.where == base.name and not base.digest
    about = ModelCardData(
        library_name="peft",
        base_model=base.name if on_hub else None,
        tags=["matrix-align", "self-alignment", "lora"],
    )
    lines = [f"# {base.name}, tuned by matrix-align", ""]
    lines += [f"A LoRA of {base.name}, made by {WAYS[method]}.", *_of_scenes(train.path), ""]
    lines += _figures(base, figures, train, test)
    lines += [
        "",
        MEASURED,
        "",
        "Not measured yet; `matrix-align measure --adapter` with `--against` writes its table here.",
    ]
    lines += [
        "",
        "## Files",
        "",
        "`adapter_model.safetensors` is PEFT's (vLLM: `--enable-lora --lora-modules tuned=.`)"
        f"{', `adapter.gguf` the same for llama.cpp' if base.gguf else ''};",
        "`merged/` and `merged.gguf`, if present, are the whole weights; `curves.png` shows the loss,",
        "`history.json` holds every step, `tune.toml` all settings.",
        "",
        "## Settings",
        "",
        f"- matrix-align {version('matrix-align')}, " + ", ".join(f"{name} {version(name)}" for name in MADE_BY),
        f"- seed = {seed}",
    ]
    for table, values in settings.items():
        lines += [f"- {table}: {name} = {json.dumps(value)}" for name, value in values.items()]
    text = "\n".join(lines) + "\n"
    return str(ModelCard(f"---\n{about.to_yaml()}\n---\n\n{text}"))


def _figures(base: Base, figures: dict[str, Any], train: Examples, test: Examples | None) -> list[str]:
    """A table of what the model was trained on, how long, and to which loss."""
    rows = {
        "base": " ".join(filter(None, (base.name, base.digest[:12], base.source))),
        "rows": f"{figures['rows']:,} of {train.path.name} ({train.digest[:12]})",
        "test rows": f"{len(test.rows):,} of {test.path.name}, not trained on" if test else "none",
        "steps": f"{figures['steps']:,}, of {figures['batch']:,} rows each",
    }
    if loss := figures["loss"]:
        rows["loss, mean of the first and of the last tenth of the steps"] = f"{loss['first']:.3f}, {loss['last']:.3f}"
    if loss := figures["test_loss"]:
        rows["loss on the test rows, before and after"] = f"{loss['before']:.3f}, {loss['after']:.3f}"
    rows["time"] = f"{figures['seconds']:,.0f} s, {figures['tokens_per_second']:,} tokens/s"
    rows["peak memory"] = f"{figures['peak_memory_gb']:.1f} GB"
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
