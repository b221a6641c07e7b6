"""The machine's memory: what a tuning wants beside what is loaded already, what is free, and what was used at most."""

from __future__ import annotations

import sys
from typing import Any

KEPT = 38  # activations a token, layer and hidden unit, kept for the way back (fitted to benchmarks/README.md's run)
LOGITS = 4  # copies of the logits, in float32, while the loss is taken


def wanted(model: Any, args: Any, tokens: int, vocabulary: int, in_pairs: bool) -> float:
    """Bytes wanted by a step over rows of `tokens` each: activations and logits; on a GPU also the weights that are not
    there yet. A rough guess, of the right order.

    Where activations are calculated again (gradient checkpointing) one a layer is kept, and those of one layer. Pairs,
    as DPO has them, are twice as many rows.
    """
    size = 2 if args.bf16 or args.fp16 else 4
    shape = model.config.get_text_config()
    rows = args.per_device_train_batch_size * (2 if in_pairs else 1)
    layers = shape.num_hidden_layers
    kept = layers + KEPT if args.gradient_checkpointing else layers * KEPT
    step = rows * tokens * (kept * shape.hidden_size * size + vocabulary * 4 * LOGITS)
    weights = 0 if args.use_cpu else sum(each.nbytes for each in model.parameters() if each.device.type == "cpu")
    return float(step + weights)


def free() -> float:
    """Bytes free on the GPU, or in the machine."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    return float(psutil.virtual_memory().available)


def peak() -> float:
    """The most bytes that were used so far: the GPU's, or those of this process."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
