"""What identifies the base of a tuning: its weights, tokenizer and chat template."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("trl")

from matrix_align.errors import InputError
from matrix_align.tuning import base as bases
from matrix_align.tuning.train import Tuning, tune

from . import tiny, tiny_gguf

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=4))


def other_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(tiny.TEMPLATE.replace("assistant", "helper"))


def template_in_settings(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    edit(folder / "tokenizer_config.json", lambda settings: settings.update(chat_template="{{ messages }}"))


def other_end(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", lambda settings: settings.update(eos_token="<|im_start|>"))


def other_tokenizer(folder: Path) -> None:
    edit(folder / "tokenizer.json", lambda content: content.update(normalizer={"type": "Lowercase"}))


CHANGES = [other_template, template_in_settings, other_end, other_tokenizer]


@pytest.mark.parametrize("change", CHANGES)
def test_another_tokenizer_or_template_is_another_identity(folder: Path, change: Callable[[Path], None]) -> None:
    """The weights are the same, so the digest of version 0.1 is too."""
    before = bases.named(str(folder))
    change(folder)
    after = bases.named(str(folder))
    assert after.digest == before.digest
    assert after.chat != before.chat and after.identity != before.identity


def test_written_otherwise_it_is_the_same(folder: Path) -> None:
    """Another version of transformers may write other spaces, or other settings that don't matter."""
    before = bases.named(str(folder))
    edit(folder / "tokenizer.json", lambda content: content.update(truncation={"max_length": 9}))
    edit(folder / "tokenizer_config.json", lambda settings: settings.update(model_max_length=77))
    assert bases.named(str(folder)) == before


def test_the_digest_of_weights_is_that_of_version_0_1(folder: Path) -> None:
    """The tune.toml files of version 0.1 hold this digest: sha256 over the digests of the files."""
    total = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        total.update(hashlib.sha256((folder / name).read_bytes()).digest())
    assert bases.named(str(folder)).digest == total.hexdigest()


@pytest.mark.parametrize("size", [4, 100, 200_000])
def test_gguf_that_is_cut_off(tmp_path: Path, size: int) -> None:
    """The line asks what may be wrong with the file, besides what the library says."""
    whole = tiny_gguf.write(tmp_path / "whole.gguf", "qwen2").read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[:size])
    with pytest.raises(InputError, match=rf"can't load --base cut: .*; is {path} a whole GGUF file"):
        bases.tokenizer(bases.named(str(path)))


def test_tokenizer_that_can_not_be_read(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=r"tokenizer\.json is no JSON"):
        bases.named(str(folder))


def test_an_adapter_and_its_base(folder: Path, tmp_path: Path) -> None:
    """A base with another template refuses the adapter in one line.

    An adapter of version 0.1 is accepted, because that version did not note the template.
    """
    config = tmp_path / "c.toml"
    config.write_text("[sft]\nmax_steps = 1\n")
    asked = Tuning(tiny.rows(tmp_path / "sft.jsonl"), str(folder), tmp_path / "out", config=config)
    tune(asked)
    base = bases.named(str(folder))
    assert bases.with_adapter(base, bases.model(base), asked.out)
    noted = asked.out / "tune.toml"
    described = noted.read_text()
    assert f'chat = "{base.chat}"' in described
    other_template(folder)
    changed = bases.named(str(folder))
    with pytest.raises(InputError, match="had another tokenizer or chat template; put that back, or tune again"):
        bases.with_adapter(changed, bases.model(changed), asked.out)
    with pytest.raises(InputError, match=r"base\.chat was"):
        tune(asked)
    noted.write_text("".join(line for line in described.splitlines(True) if not line.startswith("chat =")))
    assert bases.with_adapter(changed, bases.model(changed), asked.out)
    assert tune(asked)["rows"] == 12, "finished as it was"
