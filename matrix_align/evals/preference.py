"""Preference accuracy: how often a model finds the reply that people chose likelier than the one they rejected.

A reply is likelier if the mean log-probability of its own tokens, given the dialogue before it, is higher. The base's
chat template lays out both replies. Only the reply's tokens count, not what the template writes before and after it.
`data.preferences` reads the pairs. transformers computes the probabilities, in float32 on a CPU and in bfloat16 on a
GPU. A server could not: it gives log-probabilities only of texts that its model wrote.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from ..data.files import raw_rows
from ..data.preferences import preference_of
from ..errors import InputError
from ..tuning import base as bases
from ..tuning.quiet import quiet
from ..tuning.template import laid_out
from ..types import counted

LONGEST = 2048  # tokens of a dialogue; longer ones are left out
TOKENS = 4096  # tokens of a batch, padding included
SHOWN = 5  # rows named one by one


@dataclass(frozen=True)
class Text:
    """The tokens of a whole dialogue. The tokens of its last reply are `ids[start:end]`."""

    ids: list[int]
    start: int
    end: int


@dataclass(frozen=True)
class Pair:
    """Two replies to the same dialogue. `key` identifies the pair, independent of the model."""

    key: str
    chosen: Text
    rejected: Text

    @property
    def longest(self) -> int:
        return max(len(self.chosen.ids), len(self.rejected.ids))


@dataclass
class Pairs:
    """The pairs of one file that can be compared, and the faults of the other rows."""

    path: Path
    found: dict[str, Pair] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    long: int = 0
    again: int = 0

    def told(self) -> Iterator[str]:
        """Lines that say which rows are left out."""
        yield from self.faults[:SHOWN]
        if len(self.faults) > SHOWN:
            yield f"… and {counted(len(self.faults) - SHOWN, 'more row')} that can't be used"
        if self.long:
            yield f"{self.path}: {self.long:,} pairs of more than {LONGEST:,} tokens are left out"
        if self.again:
            yield f"{self.path}: {self.again:,} pairs are in the file more than once; each counts once"


def read_pairs(path: Path, tokenizer: Any, limit: int | None = None) -> Pairs:
    """The pairs of a file, at most `limit` of those that can be compared. Raises InputError if there are none."""
    pairs = Pairs(path)
    for number, row in raw_rows(path):
        try:
            if isinstance(row, Exception):
                raise row
            preference = preference_of(row)
            before = [message.model_dump() for message in preference.before]
            chosen, rejected = preference.chosen, preference.rejected
            key = hashlib.sha256(json.dumps([before, chosen, rejected]).encode()).hexdigest()[:16]
            pair = Pair(key, _text(tokenizer, before, chosen), _text(tokenizer, before, rejected))
        except ValueError as error:
            pairs.faults.append(f"{path}:{number}: {error}")
            continue
        if pair.longest > LONGEST:
            pairs.long += 1
            continue
        pairs.again += key in pairs.found
        pairs.found[key] = pair
        if len(pairs.found) == limit:
            break
    if not pairs.found:
        raise InputError(f"{path} holds no pair of chosen and rejected that can be used: {' '.join(pairs.told())}")
    return pairs


def preferred(base: bases.Base, adapter: Path | None, pairs: Pairs, kept: Path) -> dict[str, bool]:
    """For each pair, by key, whether the chosen reply is the likelier one.

    Each margin (the difference of the mean log-probabilities) goes into the file `kept` as soon as it is known, one
    line a pair. Margins that the file holds already are not computed again. Raises InputError for a base or an adapter
    that can't be loaded, and if there is too little memory.
    """
    weights = weights_of(base, adapter)
    margins = _kept(kept, weights)
    left = [pair for key, pair in pairs.found.items() if key not in margins]
    if left:
        with open(kept, "a", encoding="utf-8") as file:
            if file.tell():
                print(file=file)  # a kill may have cut the last line
            for pair, margin in _margins(base, adapter, left):
                margins[pair.key] = margin
                print(json.dumps({"weights": weights, "pair": pair.key, "margin": margin}), file=file, flush=True)
    return {key: margins[key] > 0 for key in pairs.found}


def weights_of(base: bases.Base, adapter: Path | None) -> str:
    """Identifies the weights that read the pairs, and the precision they are in. Raises InputError."""
    return " ".join(filter(None, (base.identity or base.name, _digest(adapter), bases.dtype())))


def _digest(adapter: Path | None) -> str:
    if adapter is None:
        return ""
    try:
        return hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{adapter} holds no adapter of PEFT's: {error.strerror}; `tune --out` makes one") from None


def _kept(path: Path, weights: str) -> dict[str, float]:
    margins = {}
    if path.exists():
        for _, row in raw_rows(path):
            if isinstance(row, dict) and row.get("weights") == weights:
                margins[str(row["pair"])] = float(row["margin"])
    return margins


def _margins(base: bases.Base, adapter: Path | None, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, float]]:
    """Each pair with its margin, longest pair first.

    The margin is the mean log-probability a token of the chosen reply minus that of the rejected one.
    """
    import torch

    with quiet():
        model = bases.model(base, bases.dtype())
        if adapter:
            model = bases.with_adapter(base, model, adapter)
    batches = list(_batches(sorted(pairs, key=lambda pair: -pair.longest)))
    console = Console(stderr=True)
    try:
        model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        for batch in track(batches, "pairs, in batches", console=console, disable=not console.is_terminal):
            with torch.inference_mode():
                means = _means(model, [text for pair in batch for text in (pair.chosen, pair.rejected)])
            for pair, chosen, rejected in zip(batch, means[::2], means[1::2], strict=True):
                yield pair, chosen - rejected
    except RuntimeError as error:
        if not bases.out_of_memory(error):
            raise
        raise InputError(f"too little memory for {base.name}; is a server on the GPU? Measure one by one") from None


def _batches(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Batches of as many pairs as TOKENS allows. The first pair of a batch is its longest."""
    left = list(pairs)
    while left:
        size = max(1, TOKENS // (2 * left[0].longest))
        yield left[:size]
        left = left[size:]


def _text(tokenizer: Any, before: list[dict[str, str]], reply: str) -> Text:
    """The dialogue as the base's chat template lays it out. Raises ValueError if that changes the reply."""
    layout = laid_out(tokenizer, before, reply)
    if layout.text[layout.start : layout.end] != reply:
        raise ValueError("the base's chat template changes the reply")
    tokens = tokenizer(layout.text, add_special_tokens=False, return_offsets_mapping=True)
    start, end = layout.start, layout.end
    own = [place for place, (_, last) in enumerate(tokens["offset_mapping"]) if start < last <= end and place]
    if not own:
        raise ValueError("the reply has no token of its own")
    return Text(tokens["input_ids"], own[0], own[-1] + 1)


def _means(model: Any, batch: Sequence[Text]) -> list[float]:
    """The mean log-probability of each reply's tokens. Padding follows the text, where the model does not see it."""
    import torch

    longest = max(len(text.ids) for text in batch)
    first = min(text.start for text in batch)
    padded = torch.tensor([text.ids + [0] * (longest - len(text.ids)) for text in batch], device=model.device)
    seen = torch.tensor([[1] * len(text.ids) + [0] * (longest - len(text.ids)) for text in batch], device=model.device)
    # Logits take most of the memory, so only those from the token before the first reply on are kept.
    logits = model(input_ids=padded, attention_mask=seen, logits_to_keep=longest - first + 1).logits[:, :-1].float()
    log_probabilities = logits.log_softmax(-1).gather(-1, padded[:, first:, None]).squeeze(-1)
    places = [(row, slice(text.start - first, text.end - first)) for row, text in enumerate(batch)]
    return [float(log_probabilities[place].mean()) for place in places]
