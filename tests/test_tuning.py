"""tune: real TRL and PEFT on a model of 300 tokens. test_tuned.py tunes the bundled model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from safetensors.numpy import load_file

from matrix_align.cli import main
from matrix_align.errors import InputError
from matrix_align.tuning import base as bases
from matrix_align.tuning import llamacpp
from matrix_align.tuning.train import Tuning, tune

from . import tiny
from .conftest import Run as Cli

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]

QUICK = "[sft]\nnum_train_epochs = 2\n[dpo]\nnum_train_epochs = 2\n"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    path = tmp_path / "quick.toml"
    path.write_text(QUICK)
    return path


def history(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "history.json").read_text())["log"]
    return found


def test_what_it_leaves(base: Path, quick: Path, tmp_path: Path) -> None:
    """An adapter that PEFT reads, merged weights that transformers reads, settings, card and curves. No pickle."""
    from transformers import AutoModelForCausalLM

    out = tmp_path / "out"
    figures = tune(Tuning(tiny.rows(tmp_path / "sft.jsonl"), str(base), out, config=quick, merge=True))
    assert figures["rows"] == 12 and figures["steps"] == 2
    assert {path.name for path in out.iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "merged",
        "tune.toml",
        "README.md",
        "curves.png",
        "history.json",
    }
    assert not list(out.glob("*.bin"))
    AutoModelForCausalLM.from_pretrained(out / "merged")
    named = bases.named(str(base))
    assert bases.with_adapter(named, bases.model(named), out)
    with pytest.raises(InputError, match="was tuned from tiny"):
        bases.with_adapter(replace(named, digest="other"), bases.model(named), out)
    described = (out / "tune.toml").read_text()
    for words in ("learning_rate = 2e-05", "num_train_epochs = 2", "r = 8", "lora_alpha = 16", 'method = "sft"'):
        assert words in described


def test_loss_is_on_the_answer_alone(base: Path, tmp_path: Path) -> None:
    """The first loss is the answers' mean negative log-likelihood, as transformers computes it row by row."""
    import torch

    config = tmp_path / "c.toml"
    config.write_text(
        "[sft]\nnum_train_epochs = 1\nper_device_train_batch_size = 12\ngradient_accumulation_steps = 1\n"
    )
    out = tmp_path / "out"
    data = tiny.rows(tmp_path / "sft.jsonl")
    tune(Tuning(data, str(base), out, config=config))
    named = bases.named(str(base))
    tokenizer, model = bases.tokenizer(named), bases.model(named).eval()
    losses = []
    for line in data.read_text().splitlines():
        turns = json.loads(line)["messages"]
        opened, whole = (
            tokenizer.apply_chat_template(part, add_generation_prompt=part != turns, tokenize=True, return_dict=True)
            for part in (turns[:1], turns)
        )
        ids, start = whole["input_ids"], len(opened["input_ids"])
        with torch.inference_mode():
            told = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        losses += [-float(told[place - 1, ids[place]]) for place in range(start, len(ids))]
    assert history(out)[0]["loss"] == pytest.approx(
        sum(losses) / len(losses), rel=2e-4
    )  # that of all tokens is 0.3 % off; dropout of the LoRA, whose B is 0, changes nothing yet


def test_same_seed_same_adapter(base: Path, quick: Path, tmp_path: Path) -> None:
    data = tiny.rows(tmp_path / "sft.jsonl")
    made = {}
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        tune(Tuning(data, str(base), tmp_path / name, config=quick, seed=seed))
        made[name] = hashlib.sha256((tmp_path / name / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert made["one"] == made["again"] != made["other"]


def test_dpo_learns_to_tell_pairs_apart(base: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[dpo]\nlearning_rate = 1e-2\nnum_train_epochs = 15\ngradient_accumulation_steps = 1\n")
    out = tmp_path / "out"
    tune(Tuning(tiny.pairs(tmp_path / "dpo.jsonl"), str(base), out, method="dpo", config=config))
    accuracies = [each["rewards/accuracies"] for each in history(out) if "rewards/accuracies" in each]
    losses = [each["loss"] for each in history(out) if "loss" in each]
    assert accuracies[-1] == 1.0 and losses[-1] < 0.5 * losses[0]


def test_test_rows_are_measured_and_not_learned(base: Path, quick: Path, tmp_path: Path) -> None:
    """The test file is FILE-test beside FILE, as `export --test` names it."""
    data = tiny.rows(tmp_path / "sft.jsonl", 8)
    lines = [json.dumps(tiny.row(number)) for number in range(20, 24)]
    (tmp_path / "sft-test.jsonl").write_text("\n".join(lines))
    figures = tune(Tuning(data, str(base), tmp_path / "out", config=quick))
    assert figures["rows"] == 8
    assert figures["test_loss"]["before"] > figures["test_loss"]["after"] > 0


LONGER = "[{method}]\nnum_train_epochs = 20\ngradient_accumulation_steps = 1\nsave_steps = 10\n"


def test_killed_it_goes_on(base: Path, tmp_path: Path) -> None:
    """It continues from the last checkpoint, to the same adapter as without a kill, dropout included."""
    config = tmp_path / "c.toml"
    config.write_text(LONGER.format(method="sft"))
    asked = Tuning(tiny.rows(tmp_path / "a.jsonl"), str(base), tmp_path / "out", config=config)
    options = ("--base", asked.base, "--config", str(config), "--out", str(asked.out))
    command = [sys.executable, "-m", "matrix_align", "tune", str(asked.data), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not list(asked.out.glob("checkpoints/checkpoint-*/trainer_state.json")):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (asked.out / "history.json").exists()
    resumed(asked, replace(asked, out=tmp_path / "straight"))


def test_killed_while_it_wrote_a_checkpoint(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DPO continues from the checkpoint before.

    The test makes the state of such a kill from a finished tuning's folder.
    """
    config = tmp_path / "c.toml"
    config.write_text(LONGER.format(method="dpo"))
    data = tiny.pairs(tmp_path / "a.jsonl")
    straight = Tuning(data, str(base), tmp_path / "straight", method="dpo", config=config)
    tune(straight)
    asked = replace(straight, out=tmp_path / "out")
    shutil.copytree(straight.out, asked.out)
    (asked.out / "history.json").unlink()
    (asked.out / "checkpoints/checkpoint-60/trainer_state.json").write_text('{"epoch": 2')
    capsys.readouterr()
    resumed(asked, straight)
    assert "continuing from step 50" in capsys.readouterr().err


def resumed(asked: Tuning, straight: Tuning) -> None:
    """Checks that both end with every step and with the same adapter."""
    for one in (asked, straight):
        assert tune(one)["steps"] == 60
        assert [entry["step"] for entry in history(one.out) if "loss" in entry] == list(range(1, 61))
    first, second = (load_file(one.out / "adapter_model.safetensors") for one in (asked, straight))
    assert all((first[name] == second[name]).all() for name in second)


def test_finished_it_is_not_done_again(base: Path, quick: Path, tmp_path: Path) -> None:
    """Merged weights that are asked for later are still written."""
    asked = Tuning(tiny.rows(tmp_path / "sft.jsonl"), str(base), tmp_path / "out", config=quick)
    first = tune(asked)
    before = (tmp_path / "out/adapter_model.safetensors").stat().st_mtime_ns
    assert tune(replace(asked, merge=True)) == first
    assert (tmp_path / "out/merged/model.safetensors").exists()
    assert (tmp_path / "out/adapter_model.safetensors").stat().st_mtime_ns == before


def test_settings_that_are_tables(base: Path, tmp_path: Path) -> None:
    """They are kept in tune.toml as they were given."""
    config = tmp_path / "c.toml"
    lines = ["[sft]", "max_steps = 1", "lr_scheduler_kwargs = { num_cycles = 0.25 }", 'run_name = "a\\u007f"']
    config.write_text("\n".join([*lines, "[lora]", "rank_pattern = {}"]))
    asked = Tuning(tiny.rows(tmp_path / "sft.jsonl"), str(base), tmp_path / "out", config=config)
    assert tune(asked) == tune(asked)
    kept = tomllib.loads((tmp_path / "out/tune.toml").read_text())["sft"]
    assert (kept["lr_scheduler_kwargs"], kept["run_name"]) == ({"num_cycles": 0.25}, "a\x7f")


LONG = {"messages": [{"role": "user", "content": "x" * 3000}, {"role": "assistant", "content": "y"}]}
EMPTY = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": " "}]}


def test_rows_that_can_not_be_used(cli: Cli, base: Path, quick: Path, tmp_path: Path) -> None:
    """They are reported by file and line. The others are learned from."""
    data = tiny.rows(tmp_path / "sft.jsonl", 6)
    with open(data, "a") as file:
        file.write("{broken\n" + json.dumps(EMPTY) + "\n" + json.dumps(LONG) + "\n" + json.dumps({"text": "?"}) + "\n")
    command = ("tune", str(data), "--base", str(base), "--config", str(quick), "--json")
    done = cli(*command, "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 6
    for words in ("sft.jsonl:7: not JSON", "sft.jsonl:8: messages holds an empty turn", "sft.jsonl:10: no messages"):
        assert words in done.stderr.replace("\n", " ")
    assert "1 row is too long and left out" in done.stderr
    told = cli(*command, "--out", str(tmp_path / "out"), "--seed", "5")
    assert told.returncode == 2 and "tune.seed was 0, is 5" in told.stderr


def test_without_a_launcher_one_gpu_is_used(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first allowed GPU is used. On several, transformers would multiply the batch."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    data = str(tiny.rows(tmp_path / "sft.jsonl"))
    monkeypatch.setattr("sys.argv", ["matrix-align", "tune", data, "--base", str(base), "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"


def test_mistakes(base: Path, tmp_path: Path, cli: Cli) -> None:
    """Each is reported in one line that names what is wrong."""
    data = tiny.rows(tmp_path / "sft.jsonl", 4)
    dpo = str(tiny.pairs(tmp_path / "dpo.jsonl"))
    (tmp_path / "bad.jsonl").write_text("{\n")
    (tmp_path / "same-test.jsonl").write_text(data.read_text())
    (tmp_path / "same.jsonl").write_text(data.read_text())
    (tmp_path / "full").mkdir()
    (tmp_path / "full/other.txt").write_text("mine")
    for name, text in {
        "key": "[sft]\nlerning_rate = 1",
        "table": "[sfft]\na = 1",
        "ours": '[sft]\noutput_dir = "x"',
        "value": '[sft]\nlr_scheduler_type = "wavy"',
        "modules": '[lora]\ntarget_modules = ["nothing"]',
        "broken": "[sft",
        "kind": '[sft]\nlearning_rate = "fast"',
        "none": "[sft]\nnum_train_epochs = 0",
        "push": "[sft]\npush_to_hub = true",
        "loss": '[dpo]\nloss_type = "foo"',
    }.items():
        (tmp_path / f"{name}.toml").write_text(text)
    wrong: list[tuple[tuple[str, ...], str]] = [
        ((str(tmp_path / "none.jsonl"),), "none.jsonl"),
        ((str(tmp_path / "bad.jsonl"),), "bad.jsonl:1"),
        ((str(tmp_path / "same.jsonl"),), "4 rows of"),
        ((str(data), "--base", "nowhere.gguf"), "no such file"),
        ((str(data), "--base", str(tmp_path)), "no config.json"),
        ((str(data), "--config", str(tmp_path / "key.toml")), "did you mean learning_rate"),
        ((str(data), "--config", str(tmp_path / "table.toml")), "[sfft]"),
        ((str(data), "--config", str(tmp_path / "ours.toml")), "output_dir"),
        ((str(data), "--config", str(tmp_path / "value.toml")), "wavy"),
        ((str(data), "--config", str(tmp_path / "broken.toml")), "no TOML"),
        ((str(data), "--config", str(tmp_path / "modules.toml")), "do not fit the base"),
        ((str(data), "--config", str(tmp_path / "kind.toml")), "learning_rate should be a number"),
        ((str(data), "--config", str(tmp_path / "none.toml")), "num_train_epochs must be more than 0"),
        ((str(data), "--config", str(tmp_path / "push.toml")), "push_to_hub is decided"),
        ((dpo, "--method", "dpo", "--config", str(tmp_path / "loss.toml")), "foo"),
        ((str(data), "--out", str(tmp_path / "full")), "holds other files"),
        ((str(data), "--out", str(tmp_path / "full/other.txt")), "that is a file; wanted a folder"),
        ((str(data), "--qlora"), "needs a GPU"),
        ((str(data), "--gguf"), "--gguf wants a base that is a GGUF"),
        ((str(data), "--method", "dpo"), "rows of messages go with --method sft"),
        ((dpo,), "rows of prompt, chosen and rejected go with --method dpo"),
        ((str(data), "--test", str(tmp_path)), "that is a folder; wanted a file"),
    ]
    for args, words in wrong:
        given = ("--base", str(base)) if "--base" not in args else ()
        out = ("--out", str(tmp_path / "out")) if "--out" not in args else ()
        done = cli("tune", *args, *given, *out)
        assert done.returncode == 2, (args, done.stderr)
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("matrix-align: ") and words in last, (args, done.stderr)


def test_small_updates_of_bfloat16_are_merged_too() -> None:
    """They survive on average. Rounding to the nearest would lose them. Weights that have not changed stay the same."""
    import torch

    was = torch.nn.Linear(256, 256, bias=False).to(torch.bfloat16).float()
    before = was.weight.detach().clone()
    assert (bases.rounded(was, "bfloat16").weight.float() == before).all()
    update = 2e-5 * torch.randn(256, 256, generator=torch.Generator().manual_seed(1))
    now = torch.nn.Linear(256, 256, bias=False)
    now.weight.data = before + update
    made = bases.rounded(now, "bfloat16").weight
    assert made.dtype == torch.bfloat16

    def kept(weights: Any) -> float:
        return float(((weights.float() - before) * update).sum() / (update * update).sum())

    assert kept((before + update).to(torch.bfloat16)) < 0.5
    assert 0.9 < kept(made) < 1.1


def test_adapter_beside_bfloat16_is_whole(base: Path, tmp_path: Path) -> None:
    """Merging would round most of it away. So the base stays as it is, and the adapter is in float32."""
    import torch
    from peft import LoraConfig, get_peft_model

    named = bases.named(str(base))
    get_peft_model(bases.model(named), LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path)
    was = bases.model(named, "bfloat16").state_dict()
    made = bases.with_adapter(named, bases.model(named, "bfloat16"), tmp_path).state_dict()
    name = "model.layers.0.self_attn.q_proj"
    assert torch.equal(made[f"base_model.model.{name}.base_layer.weight"], was[f"{name}.weight"])
    assert made[f"base_model.model.{name}.lora_B.default.weight"].dtype == torch.float32


def test_qlora_of_a_gguf(tmp_path: Path) -> None:
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    asked = Tuning(tmp_path / "d.jsonl", str(tmp_path / "some.gguf"), tmp_path / "out", qlora=True)
    with pytest.raises(InputError, match="--qlora wants a folder or a hub name"):
        tune(asked)


def test_without_the_libraries(tmp_path: Path) -> None:
    """The commands exist, and say what to install."""
    data, out = tmp_path / "questions.jsonl", str(tmp_path / "out")
    data.write_text('{"question": "Why?"}\n')
    served = ("--endpoint", "http://127.0.0.1:1/v1", "--serve", "true")
    lacking = ("torch", "transformers", "safetensors", "trl", "peft", "datasets")
    script = f"import sys; sys.modules.update(dict.fromkeys({lacking!r})); from matrix_align.cli import main; main()"
    for command, more in (("tune", ()), ("iterate", served)):
        words = [sys.executable, "-c", script, command, str(data), "--out", out, "--base", "some/model", *more]
        told = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert told.returncode == 2 and told.stderr.count("\n") == 1, told.stderr
        assert "pip install 'matrix-align[tune]'" in told.stderr


def test_what_llamacpp_has_no_adapter_for(tmp_path: Path) -> None:
    """It is reported before the training."""
    from gguf import GGUFWriter
    from peft import LoraConfig

    for name in ("llama", "gemma"):
        writer = GGUFWriter(tmp_path / f"{name}.gguf", name)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    llamacpp.check(tmp_path / "llama.gguf", LoraConfig())
    with pytest.raises(InputError, match="not for gemma"):
        llamacpp.check(tmp_path / "gemma.gguf", LoraConfig())
    with pytest.raises(InputError, match=r"not embed_tokens"):
        llamacpp.check(tmp_path / "llama.gguf", LoraConfig(target_modules=["q_proj", "embed_tokens"]))
    with pytest.raises(InputError, match=r"\[lora\] use_dora"):
        llamacpp.check(tmp_path / "llama.gguf", LoraConfig(use_dora=True))
