"""Whether the served model, with an adapter and without, writes the text that transformers writes.

`python -m benchmarks.greedy BASE DIR DATA` takes the DIR that `matrix-align tune DATA --base BASE --out DIR` made. BASE
is a GGUF file or a name of one. The server answers each prompt at temperature 0, as the base and as the tuned model.
transformers then reads these answers, with the weights dequantised from the same file and PEFT's adapter on top.

If each token of an answer is the likeliest one there, transformers would have written the same. The second table shows
the places where it is not: by how many logits transformers' token is ahead in transformers, and the server's in the
server. If both are small, it is a tie that rounding decides: llama.cpp rounds what goes into a product of quantised
weights to 8 bits, transformers calculates in float32.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from matrix_align import Message, Sampling
from matrix_align.data.files import raw_rows
from matrix_align.llm.local import Served, serve
from matrix_align.llm.open import lora
from matrix_align.llm.prefix_cache import Slotted
from matrix_align.tuning import base as bases

TOKENS = 48
LEARNED = 4  # prompts of DATA
OTHERS = (
    "Name three colours.",
    "How do I boil an egg?",
    "Why is the sky blue?",
    "Write a Python function that adds two numbers.",
    "What should I tell a friend who is late?",
    "Who lives in the cellar?",
    "Translate 'good morning' into French.",
    "Give me a short story about the sea.",
)
KINDS = {"base": False, "with adapter": True}


@dataclass(frozen=True)
class Written:
    """An answer of the server: the tokens of its prompt and its own, as the tokenizer splits them."""

    prompt: str
    asked: list[int]
    tokens: list[int]


@dataclass(frozen=True)
class Place:
    """One token of an answer. `behind` is how many logits the likeliest token is ahead of it; 0 if it is that itself.

    `lead` is how far the likeliest token, `wanted`, is ahead of the second.
    """

    wanted: int
    behind: float
    lead: float


@dataclass(frozen=True)
class Parting:
    """The place `number` of an answer, where transformers would have written another token than the server did."""

    kind: str
    answer: Written
    number: int
    place: Place

    @property
    def token(self) -> int:
        return self.answer.tokens[self.number]


async def written(served: Served, tokenizer: Any, prompts: list[str]) -> dict[str, list[Written]]:
    """The answers of the base and of the tuned model."""
    answers: dict[str, list[Written]] = {kind: [] for kind in KINDS}
    for kind, tuned in KINDS.items():
        async with Slotted(served, tuned=tuned) as model:
            for prompt in prompts:
                sampling = Sampling(temperature=0, max_tokens=TOKENS, seed=1)
                reply = await model.ask([Message(role="user", content=prompt)], str, sampling)
                turns = [{"role": "user", "content": prompt}]
                text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
                asked = tokenizer.encode(text, add_special_tokens=False)
                tokens = tokenizer.encode(reply.text, add_special_tokens=False)
                if reply.usage.completion_tokens == len(tokens) + 1:
                    tokens.append(tokenizer.eos_token_id)
                counts = reply.usage.prompt_tokens, reply.usage.completion_tokens
                assert counts == (len(asked), len(tokens)), f"other tokens than the server's: {prompt}"
                answers[kind].append(Written(prompt, asked, tokens))
    return answers


def read(model: Any, answer: Written) -> list[Place]:
    """How transformers would have gone on at each place of the answer."""
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([answer.asked + answer.tokens])).logits[0, len(answer.asked) - 1 : -1]
    best = logits.topk(2)
    behind = best.values[:, 0] - logits[range(len(answer.tokens)), answer.tokens]
    lead = best.values[:, 0] - best.values[:, 1]
    return [Place(*each) for each in zip(best.indices[:, 0].tolist(), behind.tolist(), lead.tolist(), strict=True)]


def all_read(model: Any, answers: list[Written], tuned: bool) -> list[list[Place]]:
    """The answers, read with the adapter or without it."""
    if tuned:
        return [read(model, answer) for answer in answers]
    with model.disable_adapter():
        return [read(model, answer) for answer in answers]


def ahead(served: Served, parting: Parting) -> float:
    """How many logits the server's token is ahead of transformers' in the server."""
    prompt = parting.answer.asked + parting.answer.tokens[: parting.number]
    scale = float(KINDS[parting.kind])
    body = {"prompt": prompt, "n_predict": 1, "n_probs": 20, "temperature": 0, "lora": [{"id": 0, "scale": scale}]}
    headers = {"Authorization": f"Bearer {served.key}", "Content-Type": "application/json"}
    address = f"{served.url.removesuffix('/v1')}/completion"
    with urllib.request.urlopen(urllib.request.Request(address, json.dumps(body).encode(), headers)) as response:
        likeliest = json.load(response)["completion_probabilities"][0]["top_logprobs"]
    logprobs = {each["id"]: each["logprob"] for each in likeliest}
    return float(logprobs[parting.token] - logprobs[parting.place.wanted])


def main(name: str, folder: Path, data: Path) -> None:
    base = bases.named(name)
    tokenizer = bases.tokenizer(base)
    prompts = [row["messages"][0]["content"] for _, row in islice(raw_rows(data), LEARNED)] + list(OTHERS)
    with serve(name, adapter=lora(folder)) as served:
        answers = asyncio.run(written(served, tokenizer, prompts))
    model = bases.with_adapter(base, bases.model(base), folder).eval()
    leads: list[float] = []
    partings: list[Parting] = []
    print("| answers of | prompts | answers alike | tokens | likeliest in transformers too | with the other weights |")
    print("|---|---|---|---|---|---|")
    for kind, tuned in KINDS.items():
        own, other = all_read(model, answers[kind], tuned), all_read(model, answers[kind], not tuned)
        agreed = [[not place.behind for places in answer for place in places] for answer in (own, other)]
        shares = [sum(each) / len(each) for each in agreed]
        alike = sum(not any(place.behind for place in places) for places in own)
        print(f"| {kind} | {len(own)} | {alike} | {len(agreed[0])} | {shares[0]:.1%} | {shares[1]:.1%} |")
        for answer, places in zip(answers[kind], own, strict=True):
            leads += [place.lead for place in places if not place.behind]
            partings += [Parting(kind, answer, number, place) for number, place in enumerate(places) if place.behind]
    print(f"\nWhere both agree, the likeliest token leads by {median(leads):.1f} logits (median).\n")
    print("| answers of | prompt | token | transformers | ahead by | llama.cpp | ahead by |")
    print("|---|---|---|---|---|---|---|")
    with serve(name, adapter=lora(folder)) as served:
        for each in partings:
            ours, theirs = (repr(tokenizer.decode(token)) for token in (each.token, each.place.wanted))
            behind = f"{theirs} | {each.place.behind:.2f} | {ours} | {ahead(served, each):.2f}"
            print(f"| {each.kind} | {each.answer.prompt} | {each.number + 1} | {behind} |")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
