"""Preference accuracy: how often a model finds the reply that people chose likelier than the one they rejected.

Likelier is by the mean log-probability of a reply's tokens, given what stands before it, the base's chat template laid
over both. Rows are HH-RLHF's (Bai et al. 2022): `chosen` and `rejected`, dialogues that differ in their last turn.
In transformers, in float32, on a GPU in bfloat16; a served model would tell log-probabilities of its own texts only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..sources import dialogue, raw
from . import base as bases

LONGEST = 2048  # tokens of a dialogue; longer ones are left out
TOKENS = 4096  # of a batch, padding included


@dataclass(frozen=True)
class Pair:
    """What stands before, and two replies to it."""

    before: list[dict[str, str]]
    chosen: str
    rejected: str


def pairs(path: Path) -> tuple[list[Pair], list[str]]:
    """The pairs of a file, and what was wrong with its other rows. Raises InputError where it has none."""
    found, faults = [], []
    for number, row in raw(path):
        place = f"{path}:{number}"
        try:
            chosen, rejected = (_turns(row, name) for name in ("chosen", "rejected"))
            if chosen[:-1] != rejected[:-1]:
                raise ValueError("chosen and rejected are no two replies to the same dialogue")
            if not (chosen[-1]["content"] and rejected[-1]["content"]):
                raise ValueError("one of the two replies is empty")
            found.append(Pair(chosen[:-1], chosen[-1]["content"], rejected[-1]["content"]))
        except ValueError as error:
            faults.append(f"{place}: {error}")
    if not found:
        why = f"; the first: {faults[0]}" if faults else ""
        raise InputError(f"{path} holds no pair of chosen and rejected{why}")
    return found, faults


def margins(base: bases.Base, adapter: Path | None, rows: Sequence[Pair]) -> list[float]:
    """For each pair, the chosen reply's mean log-probability a token less the rejected one's; NaN where one is longer
    than LONGEST tokens. Raises InputError for a base or an adapter that can't be loaded.
    """
    tokenizer = bases.tokenizer(base)
    import torch

    gpu = torch.cuda.is_available()
    with bases.quiet():
        model = bases.model(base, bases.dtype())
        if adapter:
            model = bases.with_adapter(base, model, adapter)
    texts = [_ids(tokenizer, pair.before, reply) for pair in rows for reply in (pair.chosen, pair.rejected)]
    means = [float("nan")] * len(texts)
    todo = sorted((len(ids), number) for number, (ids, _) in enumerate(texts) if len(ids) <= LONGEST)
    try:
        model = model.to("cuda" if gpu else "cpu").eval()
        with torch.inference_mode():
            while todo:
                longest = todo[-1][0]
                batch = [todo.pop()[1] for _ in range(min(len(todo), max(1, TOKENS // longest)))]
                for number, mean in zip(batch, _means(model, [texts[number] for number in batch]), strict=True):
                    means[number] = mean
    except torch.OutOfMemoryError:
        raise InputError(
            f"the GPU's memory is too little for {base.name}; is a server on it? Measure one by one"
        ) from None
    return [chosen - rejected for chosen, rejected in zip(means[::2], means[1::2], strict=True)]


def _turns(row: Any, name: str) -> list[dict[str, str]]:
    if isinstance(row, Exception):
        raise ValueError(str(row))
    value = row.get(name) if isinstance(row, dict) else None
    if isinstance(value, str):
        value = dialogue(value)
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(turn, dict) for turn in value):
        raise ValueError(f"no {name} of at least a question and a reply")
    turns = [{"role": str(turn.get("role")), "content": str(turn.get("content") or "").strip()} for turn in value]
    if turns[-1]["role"] != "assistant":
        raise ValueError(f"{name} does not end in an assistant's turn")
    return turns


def _ids(tokenizer: Any, before: list[dict[str, str]], reply: str) -> tuple[list[int], int]:
    """The tokens of the whole dialogue, and how many of them stand before the reply."""
    opened = tokenizer.apply_chat_template(before, add_generation_prompt=True, tokenize=True, return_dict=True)
    said = [*before, {"role": "assistant", "content": reply}]
    whole = tokenizer.apply_chat_template(said, tokenize=True, return_dict=True)["input_ids"]
    start = opened["input_ids"]
    shared = next(
        (n for n, (a, b) in enumerate(zip(start, whole, strict=False)) if a != b), min(len(start), len(whole))
    )
    return whole, shared


def _means(model: Any, batch: list[tuple[list[int], int]]) -> list[float]:
    """The mean log-probability of each text's tokens from its start on. Padding stands behind, where it is not seen."""
    import torch

    longest = max(len(ids) for ids, _ in batch)
    first = min(start for _, start in batch)
    padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch], device=model.device)
    seen = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch], device=model.device)
    # Logits are wanted from the token before the first reply on, and are the most of the memory.
    logits = model(input_ids=padded, attention_mask=seen, logits_to_keep=longest - first + 1).logits[:, :-1].float()
    told = logits.log_softmax(-1).gather(-1, padded[:, first:, None]).squeeze(-1)
    return [float(told[row, start - first : len(ids) - first].mean()) for row, (ids, start) in enumerate(batch)]
