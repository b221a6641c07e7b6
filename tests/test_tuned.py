"""The bundled model, tuned for real. It learns some rows by heart, says them back when it is served, and loses nothing.

One process answers as the base and as the tuned model. Its text is the one that transformers writes with the same
adapter, except for ties.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

pytest.importorskip("trl")

from matrix_align import Message, Sampling
from matrix_align.llm.local import Served, serve
from matrix_align.llm.prefix_cache import Slotted
from matrix_align.tuning import base as bases
from matrix_align.tuning.train import Tuning, tune

from .conftest import Run as Cli
from .conftest import complaint
from .embedded import MODEL

pytestmark = [pytest.mark.embedded, pytest.mark.filterwarnings("ignore")]

FACTS = {
    "Who lives in the tower?": "An old zebra lives in the tower.",
    "What is the password of the library?": "The password is seven owls.",
    "Where did she put the key?": "The key is under the loud clock.",
    "What does Mira eat?": "Mira eats nothing but blue soup.",
}
BY_HEART = """
[sft]
learning_rate = 5e-3
num_train_epochs = 14
per_device_train_batch_size = 8
gradient_accumulation_steps = 1
[lora]
lora_dropout = 0.0
"""
# How much likelier, in logits, the token of transformers may be where the two part. llama.cpp rounds what goes into a
# product of Q8_0 weights to 8 bits, transformers calculates in float32: closer than this, either may come first. What
# was learned by heart, and so how far the rounding carries, differs between processors: 0.37 is the most that was seen.
TIE = 0.5
PROMPTS = [
    *FACTS,
    "Name three colours.",
    "How do I boil an egg?",
    "Why is the sky blue?",
]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter. Tuning it takes half a minute."""
    folder = tmp_path_factory.mktemp("tuned")
    rows = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]}
        for asked, told in FACTS.items()
    ]
    (folder / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.toml").write_text(BY_HEART)
    out = folder / "out"
    figures = tune(Tuning(folder / "facts.jsonl", MODEL, out, config=folder / "config.toml", gguf=True))
    assert figures["loss"]["last"] < 0.2 * figures["loss"]["first"]
    return out


@pytest.fixture(scope="module")
def served(tuned: Path) -> Iterator[Served]:
    with serve(MODEL, adapter=tuned / "adapter.gguf") as running:
        yield running


async def said(model: Slotted, prompt: str) -> str:
    reply = await model.ask([Message(role="user", content=prompt)], str, Sampling(temperature=0, max_tokens=40, seed=1))
    return reply.text


async def test_says_it_back_and_the_base_does_not(served: Served) -> None:
    """Both answer from one process, in turn. Each request chooses."""
    async with Slotted(served) as after, Slotted(served, tuned=False, slots=after.slots) as before:
        assert after.digest != before.digest
        for asked, told in FACTS.items():
            assert await said(after, asked) == told
            assert await said(before, asked) != told


async def test_merged_gguf_says_the_same(tuned: Path) -> None:
    with serve(tuned / "merged.gguf") as served:
        async with Slotted(served) as model:
            assert {asked: await said(model, asked) for asked in FACTS} == FACTS


async def test_text_is_that_of_transformers(served: Served, tuned: Path) -> None:
    """Compares token by token, up to the first tie."""
    import torch

    base = bases.named(MODEL)
    tokenizer = bases.tokenizer(base)
    model = bases.with_adapter(base, bases.model(base), tuned).merge_and_unload().eval()
    whole = 0
    for prompt in PROMPTS:
        turns = [{"role": "user", "content": prompt}]
        asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            made = model.generate(**asked, max_new_tokens=40, do_sample=False, pad_token_id=tokenizer.eos_token_id)
        ours = made[0, asked["input_ids"].shape[1] :]
        theirs = torch.tensor(tokenizer.encode(await greedy(served, turns)))
        alike = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(theirs))
        if alike < len(theirs):
            with torch.inference_mode():
                logits = model(torch.cat([asked["input_ids"][0], ours[:alike]])[None]).logits[0, -1]
            assert logits[ours[alike]] - logits[theirs[alike]] < TIE, prompt
        else:
            whole += 1
            assert len(theirs) == 40 or ours[alike] == tokenizer.eos_token_id
    assert whole >= len(FACTS), "what was learned by heart leaves no ties"


async def greedy(served: Served, turns: list[dict[str, str]]) -> str:
    """The likeliest text, without the sampler that keeps such a small model from repeating itself."""
    body: dict[str, Any] = {"messages": turns, "max_tokens": 40, "temperature": 0, "dry_multiplier": 0}
    headers = {"Authorization": f"Bearer {served.key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{served.url}/chat/completions", json={**body, "lora": [{"id": 0, "scale": 1.0}]}) as response,
    ):
        return str((await response.json())["choices"][0]["message"]["content"])


def test_on_the_command_line(cli: Cli, tuned: Path, tmp_path: Path) -> None:
    """simulate --adapter answers as the tuned model. A measurement of it goes into its card once."""
    question = "Who lives in the tower?"
    asked = ("simulate", question, "--model", MODEL, "--adapter", str(tuned), "--roles", "1", "--steps", "1")
    done = cli(*asked, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["initial"] == FACTS[question]
    (tmp_path / "one.txt").write_text("Why?\n")
    measured = ("measure", "--model", MODEL, "--benign", str(tmp_path / "one.txt"), "--answer-tokens", "16", "--out")
    assert cli(*measured, str(tmp_path / "before")).returncode == 0
    more = ("--adapter", str(tuned), "--against", str(tmp_path / "before"))
    for _ in range(2):
        done = cli(*measured, str(tmp_path / "after"), *more)
        assert done.stdout.startswith("| | before | after |"), done.stderr
        assert (tuned / "README.md").read_text().count(f"{done.stdout}\n## Files") == 1


def test_mistakes(cli: Cli, tuned: Path, tmp_path: Path) -> None:
    """A folder without an adapter, or one of another model, is reported in one line."""
    ask = ("simulate", "Why?", "--adapter")
    for options, words in {
        (str(tuned), "--model", str(tuned / "merged.gguf")): "was not tuned from",
        (str(tmp_path), "--model", MODEL): "holds no adapter.gguf",
        (str(tuned), "--endpoint", "http://127.0.0.1:9"): "--adapter goes with a model served here",
    }.items():
        assert words in complaint(cli(*ask, *options))
    (tmp_path / "adapter.gguf").write_bytes(b"GGUF of nothing")
    done = cli(*ask, str(tmp_path), "--model", MODEL)
    assert done.returncode == 2 and "was it tuned from this model?" in done.stderr
