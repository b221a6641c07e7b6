"""Adapters beside K-quants, and merged into them: llama.cpp writes the text that transformers writes, for each
architecture that we convert.

The models are random and small. Nine tokens of ten are those of transformers, and the others nearly as likely there:
llama.cpp rounds what goes into a product of K-quants to 8 bits.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy
import pytest
from gguf import GGMLQuantizationType, GGUFReader, dequantize

pytest.importorskip("trl")

from matrix_align.llm.local import serve
from matrix_align.tuning import base as bases
from matrix_align.tuning import llamacpp
from matrix_align.tuning.train import Tuning, tune

from . import tiny, tiny_gguf

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]

LENGTH = 16
PROMPTS = ["Where is the door?", "Who?", "Tell me of the sea, and of the ships.", "1, 2, 3", "Why is it so?", "Hello."]
TIE = 1.0  # standard deviation of all logits; the likeliest is some three above the mean, and 0.6 is the most seen


def adapted(base: bases.Base, folder: Path) -> Any:
    """The base with a random LoRA that changes much. Saves the LoRA in `folder` as PEFT does."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(4)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False)
    model = get_peft_model(bases.model(base), lora)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    return model.eval()


def written(url: str, key: str, prompt: str, scale: float, cache: bool = False, length: int = LENGTH) -> list[int]:
    """The likeliest tokens after a prompt, as the server writes them with the adapter at `scale`.

    With `cache` the server may use what it has read before, in the one slot that is asked.
    """
    body = {"prompt": prompt, "n_predict": length, "temperature": 0, "samplers": ["top_k"], "top_k": 1, "id_slot": 0}
    body |= {"return_tokens": True, "ignore_eos": True, "lora": [{"id": 0, "scale": scale}], "cache_prompt": cache}
    asked = urllib.request.Request(
        f"{url.removesuffix('/v1')}/completion",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=300) as response:
        tokens: list[int] = json.load(response)["tokens"]
    return tokens


@pytest.mark.parametrize(
    ("architecture", "tied"), [("llama", False), ("qwen2", False), ("qwen2", True), ("qwen3", False)]
)
def test_text_is_that_of_transformers(architecture: str, tied: bool, tmp_path: Path) -> None:
    import torch

    path = tiny_gguf.write(tmp_path / f"{architecture}.gguf", architecture, tied)
    base = bases.named(str(path))
    tokenizer, model = bases.tokenizer(base), adapted(base, tmp_path / "peft")
    llamacpp.adapter(llamacpp.converted(tmp_path / "peft", path), base.sha256, tmp_path / "adapter.gguf")
    alike, changed = 0, 0
    with serve(path, adapter=tmp_path / "adapter.gguf") as served:
        for prompt in PROMPTS:
            ids = tokenizer(prompt)["input_ids"]
            texts = {scale: written(served.url, served.key, prompt, scale) for scale in (0.0, 1.0)}
            changed += texts[0.0] != texts[1.0]
            for scale, theirs in texts.items():
                assert len(theirs) == LENGTH
                with torch.inference_mode(), model.disable_adapter() if scale == 0 else torch.no_grad():
                    logits = model(torch.tensor([ids + theirs])).logits[0, len(ids) - 1 : -1]
                for place, token in enumerate(theirs):
                    gap = (logits[place].max() - logits[place, token]) / logits[place].std()
                    assert gap < TIE, f"{prompt!r}, scale {scale}, token {place}"
                    alike += bool(gap == 0)
    assert changed == len(PROMPTS), "the adapter does something"
    assert alike > 0.9 * 2 * len(PROMPTS) * LENGTH, "ties are few"


def test_what_the_base_has_read_is_not_used_with_the_adapter(tmp_path: Path) -> None:
    """llama.cpp's cache of prompts that no slot holds any more does not tell with which adapter they were read.

    It is looked into if the slot holds little of the prompt: here, after a long reply to another one.
    """
    path = tiny_gguf.write(tmp_path / "small.gguf", "qwen2")
    base = bases.named(str(path))
    adapted(base, tmp_path / "peft")
    llamacpp.adapter(llamacpp.converted(tmp_path / "peft", path), base.sha256, tmp_path / "adapter.gguf")
    prompt, other = "Tell me of the sea, and of the ships. " * 4, "Tell me of the stars."
    with serve(path, adapter=tmp_path / "adapter.gguf") as served:
        wanted = written(served.url, served.key, prompt, 1.0)
        for asked, scale, length in ((prompt, 0.0, LENGTH), (other, 1.0, 200), (other, 1.0, 200)):
            written(served.url, served.key, asked, scale, True, length)
        assert written(served.url, served.key, prompt, 1.0, True) == wanted


def test_merged_gguf_is_a_base_as_it_is(tmp_path: Path) -> None:
    """It is the next round's base, under its own name.

    The adapter beside it is merged already, and is not applied again.
    """
    import torch

    path = tiny_gguf.write(tmp_path / "small.gguf", "qwen2")
    config = tmp_path / "c.toml"
    config.write_text("[sft]\nlearning_rate = 1e-2\nmax_steps = 3\n")
    out = tmp_path / "out"
    tune(Tuning(tiny.rows(tmp_path / "sft.jsonl"), str(path), out, config=config, gguf=True))
    base, merged = bases.named(str(path)), bases.named(str(out / "merged.gguf"))
    assert merged.name == f"small + {tmp_path.name}/out"
    tokenizer = bases.tokenizer(merged)
    ids = torch.tensor([tokenizer("Which is door 3?")["input_ids"]])
    with torch.inference_mode():
        before = bases.model(base)(ids).logits
        beside, within = bases.with_adapter(base, bases.model(base), out)(ids).logits, bases.model(merged)(ids).logits
    assert (beside - within).std() < 0.1 * (beside - before).std()


def test_small_updates_are_merged_too(tmp_path: Path) -> None:
    """They are far below one step of Q8_0, so rounding to the nearest would lose them."""
    chance, tensor = numpy.random.default_rng(1), "blk.1.attn_q.weight"

    def merged(base: Path, name: str, a: Any, b: Any) -> tuple[dict[str, Any], Path]:
        update = llamacpp.Update(tensor, a, b)
        llamacpp.merged(llamacpp.Lora("qwen2", 8, 1.0, (update,)), base, tmp_path / name)
        return {one.name: one for one in GGUFReader(tmp_path / name).tensors}, tmp_path / name

    a, b = (chance.standard_normal(shape, dtype="float32") * 0.008 for shape in ((8, 256), (256, 8)))
    first, base = merged(tiny_gguf.write(tmp_path / "small.gguf", "qwen2"), "q8.gguf", 0 * a, 0 * b)
    second, _ = merged(base, "merged.gguf", a, b)
    assert [name for name in first if not numpy.array_equal(first[name].data, second[name].data)] == [tensor]
    before, after = (dequantize(tensors[tensor].data, GGMLQuantizationType.Q8_0) for tensors in (first, second))
    update = b @ a
    step = abs(before.reshape(-1, 32)).max(axis=1).mean() / 127
    assert 0.01 < update.std() / step < 0.3
    assert 0.9 < ((after - before) * update).sum() / (update * update).sum() < 1.1
