"""A base of a tuning that is named as a model at the hub: what is fetched, and where it is noted."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from matrix_align import InputError
from matrix_align.llm import gguf, weights
from matrix_align.provenance import tables_in
from matrix_align.tuning.base import named

from . import tiny, tiny_gguf
from .conftest import Run, complaint
from .model_hub import COMMIT, ModelHub, empty_hub, sha, unreachable
from .test_iterate import STUBBORN, free_port

__all__ = ["empty_hub", "unreachable"]  # fixtures

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]

REPO, FILE = "some/tiny-GGUF", "tiny-Q4_K_M.gguf"
NAME, SOURCE = f"hf:{REPO}", f"hf:{REPO}:{FILE}@{COMMIT}"


@pytest.fixture
def hub(empty_hub: ModelHub, tmp_path: Path) -> ModelHub:
    """A hub with a model that can be tuned."""
    path = tiny_gguf.write(tmp_path / FILE, "qwen2")
    empty_hub.files[REPO] = {FILE: path.read_bytes()}
    return empty_hub


def test_same_names(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """--base takes those that --model takes. A file of gigabytes is read once to identify it."""
    read: list[Path] = []

    def noted(path: Path) -> str:
        read.append(path)
        return gguf.sha256(path)

    monkeypatch.setattr(weights, "sha256", noted)
    monkeypatch.setattr("matrix_align.tuning.base.sha256", noted)
    base = named(NAME)
    assert (base.name, base.source, base.sha256) == ("tiny-Q4_K_M", SOURCE, sha(hub.files[REPO][FILE]))
    assert read == [base.gguf]
    assert named(str(base.gguf)).digest == base.digest
    with pytest.raises(InputError, match="there is no Q5_0"):
        named(f"{NAME}:Q5_0")
    assert named(REPO).gguf is None, "a name without hf: is that of a transformers model"


@pytest.mark.parametrize("cached", [True, False])
def test_split_model(hub: ModelHub, cli: Run, tmp_path: Path, cached: bool) -> None:
    """It can't be tuned; the line says how to join it."""
    parts = [f"a-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    hub.files["some/split"] = {part: b"GGUF " + part.encode() for part in parts}
    name = "hf:some/split:q8_0"
    if cached:
        name = str(weights.weights_of(name).path)
    said = complaint(cli("tune", str(tiny.rows(tmp_path / "sft.jsonl")), "--base", name, "--out", str(tmp_path / "o")))
    first = weights.weights_of("hf:some/split:q8_0").path
    assert (
        f"is split in 2 files, and only a whole one can be tuned; join them with `llama-gguf-split --merge {first} J"
        in said
    )


def test_source_is_noted(hub: ModelHub, unreachable: Any, cli: Run, tmp_path: Path) -> None:
    """In the tuning and its card, and in measurements. The same weights from elsewhere are the same tuning."""
    config, question = tmp_path / "c.toml", tmp_path / "one.txt"
    config.write_text("[sft]\nmax_steps = 1\n")
    question.write_text("Why?\n")
    pairs = str(tiny.pairs(tmp_path / "pairs.jsonl", 2))
    data = str(tiny.rows(tmp_path / "sft.jsonl", 4))
    tuned = ("tune", data, "--config", str(config), "--out", str(tmp_path / "tuned"), "--base")
    measured = ("measure", "--benign", str(question), "--answer-tokens", "4", "--preference", pairs)
    done = cli(*tuned, NAME)
    assert done.returncode == 0, done.stderr
    assert "peft:" not in done.stderr, "what a library says of files that a GGUF base has not"
    done = cli(*measured, "--model", NAME, "--out", str(tmp_path / "measured"))
    assert done.returncode == 0, done.stderr
    unreachable("network")
    done = cli(*tuned, str(tmp_path / FILE))
    assert (done.returncode, "finished already" in done.stderr) == (0, True), done.stderr
    base = tables_in(tmp_path / "tuned/tune.toml")["base"]
    assert (base["name"], base["source"]) == ("tiny-Q4_K_M", SOURCE)
    assert SOURCE in (tmp_path / "tuned/README.md").read_text()
    note = tables_in(tmp_path / "measured/measure.toml")
    assert (note["model"]["source"], note["measure"]["weights_source"]) == (SOURCE, SOURCE)


def test_source_in_a_loop(hub: ModelHub, cli: Run, tmp_path: Path) -> None:
    """Also in the run of a round. (Its scenes fail here, so the loop ends before it tunes.)"""
    port = free_port()
    source, out = tmp_path / "questions.jsonl", tmp_path / "loop"
    source.write_text("".join(json.dumps({"question": f"Question {n}?"}) + "\n" for n in range(4)))
    command = shlex.join([sys.executable, "-c", STUBBORN, str(port)])
    served = ("--endpoint", f"http://127.0.0.1:{port}/v1", "--serve", command)
    small = ("--rounds", "1", "--scenes", "0", "--held-out", "0.3", "--roles", "1", "--steps", "1")
    done = cli("iterate", str(source), "--base", NAME, "--out", str(out), *served, *small)
    assert "holds nothing to export" in done.stderr, done.stderr
    assert tables_in(out / "iterate.toml")["base"]["source"] == SOURCE
    assert tables_in(out / "round-1/run/run.toml")["model"]["source"] == SOURCE
