"""The data card of an export, in the form of the Hugging Face hub: YAML, then text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ..generate.run import Run
from ..types import counted
from .benchmarks import licence

TAG = "matrix-align"  # marks a card as ours
USES = {
    "sft": "`messages`, for supervised fine-tuning (TRL's SFTTrainer takes it as it is).",
    "dpo": "`prompt`, `chosen` (the method's answer), `rejected` (a worse one); TRL's DPOTrainer takes them.",
    "sharegpt": "`conversations` of `from` and `value` (Axolotl).",
    "fastchat": "`conversations` of `from` and `value` and an `id` (FastChat).",
    "scenes": "a whole scene: both responses, and as JSON in `answer` the roles, events, rulings, critique and calls.",
}


@dataclass
class Count:
    """What went into one file."""

    rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    characters: list[int] = field(default_factory=list)  # of each answer
    refusals: int = 0
    cut: int = 0  # answers cut at the longest length, and shortened to their last whole sentence
    left_out: Counter[str] = field(default_factory=Counter)  # rows not written, by reason


def files_described(readme: str) -> set[str] | None:
    """The names of the data files that our data card lists. None if `readme` is not the text of our card."""
    from huggingface_hub import DatasetCard

    if not readme.startswith("---"):
        return None
    try:
        about: dict[str, Any] = DatasetCard(readme).data.to_dict()
        if TAG not in about.get("tags", []):
            return None
        return {file["path"] for config in about["configs"] for file in config["data_files"]}
    except Exception:  # foreign YAML fails in many ways
        return None


def data_card(
    run: Run, files: Mapping[str, Path], format: str, counts: Mapping[str, Count], options: Mapping[str, object]
) -> str:
    """The data card of an export: its files by split, their contents, the sources, and how it was made."""
    from huggingface_hub import DatasetCard, DatasetCardData

    splits = [{"split": split, "path": path.name} for split, path in files.items() if counts[split].rows]
    about = DatasetCardData(
        tags=[TAG, "self-alignment", *(["social-simulation"] if run.setup.method.name == "matrix" else [])],
        configs=[{"config_name": "default", "data_files": splits}],
    )
    described = run.described(run.folder)
    sources = sorted({source for count in counts.values() for source in count.sources})
    lines = [f"# {files['train'].stem}", ""]
    lines += [f"Made by matrix-align with its method {run.setup.method.name}. Each row holds {USES[format]}", ""]
    lines += ["| split | rows | by kind | characters an answer (median, longest) | refusals |", "|---|---|---|---|---|"]
    for split, count in counts.items():
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(count.kinds.items())) or "none"
        lengths = f"{median(count.characters):,.0f}, {max(count.characters):,}" if count.characters else "none"
        lines.append(f"| {split} | {count.rows:,} | {kinds} | {lengths} | {count.refusals:,} |")
    lines += [
        "",
        "The split is by question: all rows of a question are in the same file. Refusals are counted by set phrases in",
    ]
    lines += ["the opening of an answer to a question. This is a crude measure.", ""]
    if cut := sum(count.cut for count in counts.values()):
        lines += [f"{cut:,} answers had reached the longest length. They now end with their last whole sentence.", ""]
    if left_out := sum((count.left_out for count in counts.values()), Counter[str]()):
        lines += ["Left out:", "", *(f"- {counted(number, 'row')}: {why}" for why, number in left_out.items()), ""]
    lines += ["## Sources", ""]
    lines += ["| source | rows | licence of the questions |", "|---|---|---|"]
    for source in sources:
        rows = sum(count.sources[source] for count in counts.values())
        lines.append(f"| {source.replace('|', ' ')} | {rows:,} | {licence(source)} |")
    model = described.get("model", {})
    lines += ["", "## How it was made", "", f"- model: {model.get('name', '')} {model.get('digest', '')}".rstrip()]
    for table in ("method", "settings", "sampling"):
        lines += [f"- {table}: {name} = {value}" for name, value in described.get(table, {}).items()]
    lines += [f"- exported with {name}: {json.dumps(value)}" for name, value in options.items() if value]
    lines += [
        "",
        "The model named above wrote the answers. Its licence says how they may be used. Benchmarks' questions may be",
    ]
    lines += ["harmful on purpose. No person has checked the rows.", ""]
    text = "\n".join(lines)
    return str(DatasetCard(f"---\n{about.to_yaml()}\n---\n\n{text}"))
