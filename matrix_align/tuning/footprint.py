"""The machine's memory: what a tuning needs beyond what is loaded, what is free, and the peak of what was used."""

from __future__ import annotations

import sys
from typing import Any

KEPT = 38  # activations kept for the backward pass per token, layer and hidden unit (fitted to benchmarks/README.md)
LOGITS = 4  # copies of the logits, in float32, while the loss is computed


def wanted(model: Any, args: Any, tokens: int, vocabulary: int, in_pairs: bool) -> float:
    """The bytes that a step over rows of `tokens` tokens needs. A rough guess, of the right order.

    It counts activations and logits. On a GPU it adds the weights that are not there yet. With gradient checkpointing,
    a step keeps one activation per layer, and all activations of one layer. DPO's pairs are twice as many rows.
    """
    size = 2 if args.bf16 or args.fp16 else 4
    shape = model.config.get_text_config()
    rows = args.per_device_train_batch_size * (2 if in_pairs else 1)
    layers = shape.num_hidden_layers
    kept = layers + KEPT if args.gradient_checkpointing else layers * KEPT
    step = rows * tokens * (kept * shape.hidden_size * size + vocabulary * 4 * LOGITS)
    weights = 0 if args.use_cpu else sum(weight.nbytes for weight in model.parameters() if weight.device.type == "cpu")
    return float(step + weights)


def free() -> float:
    """The bytes free on the GPU; without a GPU, in the machine."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    return float(psutil.virtual_memory().available)


def peak() -> float:
    """The peak of the bytes used so far: on the GPU, or without one by this process."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
