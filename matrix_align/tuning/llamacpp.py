"""A PEFT LoRA for llama.cpp: as an adapter beside the base's GGUF, or merged into a copy of it.

Owns the mapping of weights between PEFT and GGUF: their names and their order. Llama's rotary embedding pairs rows of
the query and key projections. GGUF files order these rows differently from transformers, so the B matrices are
reordered (see llama.cpp's convert_hf_to_gguf). Knows nothing of training. Needs numpy, gguf and safetensors, not torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..llm.gguf import described, rewrite, write_adapter

REORDERED = ("llama",)  # architectures whose query and key rows need it
SAME_ORDER = ("qwen2", "qwen3")
LINEAR = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)  # in all three architectures
PREFIX = "base_model.model."


@dataclass(frozen=True)
class Update:
    """One weight's update, scale times B·A: A is (rank, in), B is (out, rank)."""

    tensor: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Lora:
    """A PEFT LoRA in GGUF's names and order. `scale` is alpha / rank, or alpha / √rank for a rank-stabilised LoRA."""

    architecture: str
    rank: int
    scale: float
    updates: tuple[Update, ...]


def check(base: Path, lora: Any) -> None:
    """Raises InputError if llama.cpp has no adapter like `lora` (a LoraConfig) for the base's GGUF file."""
    architecture = str(described(base)["general.architecture"])
    if architecture not in REORDERED + SAME_ORDER:
        architectures = ", ".join(REORDERED + SAME_ORDER)
        raise InputError(f"{base.name}: adapters for llama.cpp are written for {architectures}, not for {architecture}")
    unlike = {"use_dora": False, "bias": "none", "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {}}
    unlike |= {"lora_bias": False, "init_lora_weights": True}
    unlike |= {"trainable_token_indices": None, "target_parameters": None}
    for name, plain in unlike.items():
        if getattr(lora, name, plain) not in (plain, None):
            raise InputError(f"[lora] {name}: llama.cpp's adapters don't have this; tune the model's folder instead")
    targets = lora.target_modules
    if isinstance(targets, set | list) and (strange := sorted(set(targets) - set(LINEAR))):
        names = ", ".join(LINEAR)
        raise InputError(f"[lora] target_modules: for llama.cpp, some of {names}, or all-linear; not {strange[0]}")


def converted(folder: Path, base: Path) -> Lora:
    """The adapter that PEFT wrote into `folder`, for the base's GGUF file. It must have passed `check`.

    Raises InputError for a weight that the GGUF file does not have.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map
    from safetensors.numpy import load_file

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    about = described(base)
    architecture = str(about["general.architecture"])
    blocks = int(about[f"{architecture}.block_count"])
    names = get_tensor_name_map(next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture), blocks)
    heads = int(about[f"{architecture}.attention.head_count"])
    key_heads = int(about.get(f"{architecture}.attention.head_count_kv", heads))
    saved = load_file(folder / "adapter_model.safetensors")
    updates = []
    for key in sorted(name for name in saved if name.endswith(".lora_A.weight")):
        module = key.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        if not (tensor := names.get_name(module)):
            raise InputError(f"{folder}: the base's GGUF has no weight for {module}")
        a, b = (saved[key.replace(".lora_A.", part)].astype("float32") for part in (".lora_A.", ".lora_B."))
        if architecture in REORDERED and module.endswith(("q_proj", "k_proj")):
            b = _reordered(b, heads if module.endswith("q_proj") else key_heads)
        updates.append(Update(f"{tensor}.weight", a, b))
    if 2 * len(updates) != len(saved):
        raise InputError(f"{folder} updates more than the products of matrices that llama.cpp's adapters hold")
    rank = int(config["r"])
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    return Lora(architecture, rank, scale, tuple(updates))


def _reordered(rows: Any, heads: int) -> Any:
    """Changes a projection's rows from transformers' order (halves of a head) to GGUF's order (pairs)."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def adapter(lora: Lora, base: str, made: Path) -> None:
    """Writes the adapter for llama.cpp. `base` is the sha256 of the base's GGUF file."""
    tensors = ((f"{update.tensor}.{part}", values) for update in lora.updates for part, values in _parts(update))
    write_adapter(made, lora.architecture, lora.scale * lora.rank, base, tensors)


def _parts(update: Update) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ("lora_a", update.a), ("lora_b", update.b)


def merged(lora: Lora, base: Path, made: Path) -> None:
    """Writes the base's GGUF with the update added to its weights. Quantised weights become Q8_0."""
    updates = {update.tensor: update for update in lora.updates}

    def change(name: str, values: Callable[[], Any]) -> Any:
        update = updates.get(name)
        return values() + lora.scale * (update.b @ update.a) if update else None

    rewrite(base, made, change)
