"""How much memory a tuning will want, before it starts, and how much there is."""

from __future__ import annotations

from typing import Any

LIBRARIES = 0.9 * 2**30  # bytes: torch, transformers and what they load
KEPT = 24  # activations a token, layer and hidden unit, kept for the way back (measured, see benchmarks/README.md)
LOGITS = 4  # copies of the logits, in float32, while the loss is taken


def estimate(model: Any, rank: int, batch: int, tokens: int, vocabulary: int) -> float:
    """Bytes wanted by a step over `batch` rows of `tokens` each: weights, LoRA with its optimizer, activations."""
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    size = next(model.parameters()).element_size()
    shape = model.config
    lora = shape.num_hidden_layers * 8 * rank * shape.hidden_size * 16
    kept = batch * tokens * shape.num_hidden_layers * shape.hidden_size * KEPT * size
    logits = batch * tokens * vocabulary * 4 * LOGITS
    return float(LIBRARIES + weights + lora + kept + logits)


def free() -> float:
    """Bytes free on the GPU, or in the machine."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    import psutil

    return float(psutil.virtual_memory().available)
