"""Preference accuracy: which part of a dialogue counts, and that the result is exact, on a model of 300 tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("trl")

from matrix_align.errors import InputError
from matrix_align.evals.preference import preferred, read_pairs
from matrix_align.tuning import base as bases

from . import tiny
from .conftest import Run as Cli

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("tiny"))


THINKING = tiny.TEMPLATE.replace(
    "{{ message['content'] }}",
    "{% if loop.last and message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ message['content'] }}",
)
ALTERNATING = "{% if messages[0]['role'] == messages[1]['role'] %}{{ raise_exception('in turn') }}{% endif %}"


def dialogues(path: Path, *rows: tuple[str, str, str]) -> Path:
    """Rows in HH-RLHF's form: the dialogue before, and the two replies."""
    lines = [
        {name: f"{before}\n\nAssistant: {reply}" for name, reply in (("chosen", one), ("rejected", other))}
        for before, one, other in rows
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


ASKED = "\n\nHuman: Why?"
LATER = "\n\nHuman: How so?\n\nAssistant: Well, one day.\n\nHuman: And then?"


@pytest.mark.parametrize("template", [tiny.TEMPLATE, THINKING])
def test_only_the_reply_counts(base: Path, tmp_path: Path, template: str) -> None:
    """Nothing that the template writes before or after the reply counts, for any model's template."""
    tokenizer = bases.tokenizer(bases.named(str(base)))
    tokenizer.chat_template = template
    path = dialogues(tmp_path / "hh.jsonl", (ASKED, "I can't say.", "i"), (LATER, "Überall…", "<|im_end|> is a sign."))
    told = [
        tokenizer.decode(text.ids[text.start : text.end])
        for pair in read_pairs(path, tokenizer).found.values()
        for text in (pair.chosen, pair.rejected)
    ]
    assert told == ["I can't say.", "i", "Überall…", "<|im_end|> is a sign."]


def test_rows_that_are_no_pairs(base: Path, tmp_path: Path) -> None:
    """They are reported by file and line, and so are rows that the template refuses.

    Pairs that are too long or repeated are counted.
    """
    tokenizer = bases.tokenizer(bases.named(str(base)))
    path = dialogues(tmp_path / "hh.jsonl", (ASKED, "Yes.", "No."), (ASKED, "Yes.", "No."), (ASKED, "x" * 3000, "No."))
    with open(path, "a") as file:
        for chosen, rejected in (
            (f"{ASKED}\n\nAssistant: Well.", "\n\nHuman: What?\n\nAssistant: This."),
            (f"{ASKED}\n\nAssistant: Well.", f"{ASKED}\n\nAssistant:"),
            (f"{ASKED}{ASKED}\n\nAssistant: Well.", f"{ASKED}{ASKED}\n\nAssistant: No."),
            ("x", "y"),
        ):
            print(json.dumps({"chosen": chosen, "rejected": rejected}), file=file)
        print("{broken", file=file)
    tokenizer.chat_template = ALTERNATING + tiny.TEMPLATE
    pairs = read_pairs(path, tokenizer)
    assert len(pairs.found) == 1 and pairs.long == 1 and pairs.again == 1
    told = (
        "4: chosen and rejected are no",
        "5: one of",
        "6: the base's chat template refuses it: in turn",
        "7: no prompt",
    )
    for fault, words in zip(pairs.faults, (*told, "8: not JSON"), strict=True):
        assert f"hh.jsonl:{words}" in fault
    assert "1 pairs of more than 2,048 tokens are left out" in "\n".join(pairs.told())
    with pytest.raises(InputError, match=r"no pair of chosen and rejected that can be used: .*no prompt"):
        read_pairs(dialogues(tmp_path / "none.jsonl", ("x", "y", "z")), tokenizer)


def test_preference_is_exact(base: Path, tmp_path: Path) -> None:
    """Batches give the same result as single pairs, for dialogues of any length. Margins are kept and computed once."""
    import torch

    rows = [(before, "yes " * n + "!", "No " + "." * (9 - n)) for n in range(1, 8) for before in (ASKED, LATER)]
    named, kept = bases.named(str(base)), tmp_path / "margins.jsonl"
    tokenizer, model = bases.tokenizer(named), bases.model(named).eval()
    pairs = read_pairs(dialogues(tmp_path / "hh.jsonl", *rows), tokenizer)
    told = preferred(named, None, pairs, kept)
    assert len(told) == len(rows)
    margins = {row["pair"]: row["margin"] for row in map(json.loads, kept.read_text().splitlines())}
    for pair in pairs.found.values():
        means = []
        for text in (pair.chosen, pair.rejected):
            with torch.inference_mode():
                logs = model(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1)
            places = range(text.start, text.end)
            means.append(sum(float(logs[n - 1, text.ids[n]]) for n in places) / len(places))
        assert margins[pair.key] == pytest.approx(means[0] - means[1], abs=1e-4)
        assert told[pair.key] == (margins[pair.key] > 0)
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join([*lines[:5], lines[5][:20]]))  # as a kill leaves it
    assert preferred(named, None, pairs, kept) == told
    assert len(kept.read_text().splitlines()) == 5 + 1 + 9, "what was kept is not calculated again"


def test_adapter_counts_whole(base: Path, tmp_path: Path, cli: Cli) -> None:
    """With an adapter, the command's margins are those of the merged weights."""
    from peft import LoraConfig, get_peft_model

    named, adapter = bases.named(str(base)), tmp_path / "adapter"
    lora = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(bases.model(named), lora).save_pretrained(adapter)
    bases.with_adapter(named, bases.model(named), adapter).merge_and_unload().save_pretrained(tmp_path / "merged")
    bases.tokenizer(named).save_pretrained(tmp_path / "merged")
    path = dialogues(tmp_path / "hh.jsonl", (ASKED, "It rains.", "No."), (LATER, "yes yes", "And then no more."))
    margins = {}
    for name, more in (("base", ()), ("adapter", ("--adapter", str(adapter))), ("merged", ())):
        of = tmp_path / "merged" if name == "merged" else base
        out = tmp_path / f"of-{name}"
        done = cli("measure", "--preference", str(path), "--base", str(of), *more, "--out", str(out))
        assert done.returncode == 0, done.stderr
        margins[name] = {
            row["pair"]: row["margin"] for row in map(json.loads, (out / "margins.jsonl").read_text().splitlines())
        }
    assert margins["adapter"] == pytest.approx(margins["merged"], abs=1e-4)
    assert all(abs(margins["adapter"][pair] - margins["base"][pair]) > 1e-3 for pair in margins["base"])
