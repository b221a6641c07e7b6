"""How much of an update remains after merging it into quantised weights.

`python -m benchmarks.merged DIR DATA` takes the DIR that `matrix-align tune … --base smollm2-135m --gguf --out DIR`
made, and a file of SFT rows. On the first rows it compares the next token's distribution with that of the base with the
adapter in float32, for merged.gguf and for the base alone.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

from matrix_align.data.files import raw_rows
from matrix_align.tuning import base as bases

ROWS = 12
LONGEST = 300  # tokens


def distributions(model: Any, texts: list[list[int]]) -> list[Any]:
    import torch

    with torch.inference_mode():
        return [model.eval()(torch.tensor([ids])).logits[0].log_softmax(-1) for ids in texts]


def main(folder: Path, data: Path) -> None:
    import torch

    base, merged = bases.named("smollm2-135m"), bases.named(str(folder / "merged.gguf"))
    tokenizer = bases.tokenizer(base)
    texts = [
        tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=True)["input_ids"][:LONGEST]
        for _, row in islice(raw_rows(data), ROWS)
    ]
    exact = distributions(bases.with_adapter(base, bases.model(base), folder), texts)
    print("| model | KL from the exact one, nats a token | same likeliest token |\n|---|---|---|")
    for name, each in (("merged.gguf", merged), ("base", base)):
        pairs = list(zip(exact, distributions(bases.model(each), texts), strict=True))
        far = torch.cat([(one.exp() * (one - other)).sum(-1) for one, other in pairs]).mean()
        same = torch.cat([(one.argmax(-1) == other.argmax(-1)).float() for one, other in pairs]).mean()
        print(f"| {name} | {far:.4f} | {same:.1%} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
