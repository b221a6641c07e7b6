"""export --push: what reaches the hub, here a fake one over real HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

from .conftest import Run as Cli
from .fake import fake_server
from .hub import FakeHub, fake_hub


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as running:
        yield running


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "questions.txt").write_text("".join(f"How do I plant tree number {number}?\n" for number in range(4)))
    with fake_server() as server:
        options = ["--roles", "1", "--steps", "1", "--endpoint", server.url, "--model", server.name]
        command = [sys.executable, "-m", "matrix_align", "generate", str(folder / "questions.txt"), *options]
        subprocess.run([*command, "--out", str(folder / "run")], check=True, capture_output=True, timeout=300)
    return folder / "run"


@pytest.fixture
def push(cli_process: Cli, run: Path, hub: FakeHub, tmp_path: Path) -> Cli:
    """Exports into a new folder and pushes it. Switches off the client's own storage service, which the fake lacks."""
    of_hub = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_of_a_test", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)}

    def pushed(name: str, file: str = "sft.jsonl", *more: str) -> subprocess.CompletedProcess[str]:
        out = tmp_path / "data" / file
        return cli_process("export", str(run), "--out", str(out), "--push", name, *more, **of_hub)

    return pushed


@pytest.mark.parametrize("file", ["sft [1].jsonl", "sft.parquet"])
def test_it_is_there(push: Cli, hub: FakeHub, tmp_path: Path, file: str) -> None:
    """A private data set holds this export's files and data card as they are on the disk.

    It holds nothing else that lies beside them. The key is sent.
    """
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    done = push("me/tree", file, "--test", "0.3")
    assert done.returncode == 0, done.stderr
    stem, suffix = file.rsplit(".", 1)
    wanted = {file, f"{stem}-test.{suffix}", "README.md"}
    assert hub.files == {"me/tree": {name: (folder / name).read_bytes() for name in wanted}}
    assert hub.private == {"me/tree": True}
    assert hub.keys - {""} == {"Bearer hf_of_a_test"}


def test_once_more(push: Cli, hub: FakeHub, tmp_path: Path) -> None:
    """A data set that exists and was made public gets the new files and stays public."""
    hub.files["me/tree"], hub.private["me/tree"] = {"README.md": b"old", "other.txt": b"kept"}, False
    assert push("me/tree").returncode == 0
    kept = hub.files["me/tree"]
    assert kept["README.md"] == (tmp_path / "data/README.md").read_bytes() and kept["other.txt"] == b"kept"
    assert not hub.private["me/tree"]


@pytest.mark.parametrize(
    ("refuses", "name", "words"),
    [
        ((403, "You have no right to this"), "me/tree", "403"),
        ((401, "Invalid token"), "me/tree", "401"),
        (None, "no name", "can't publish no name"),
    ],
)
def test_refused(
    push: Cli, hub: FakeHub, tmp_path: Path, refuses: tuple[int, str] | None, name: str, words: str
) -> None:
    """One line gives the hub's reason. The files stay where they were written."""
    hub.refuses = refuses
    done = push(name)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("matrix-align: can't publish") and words in last
    assert f"the files are in {tmp_path / 'data'}" in last and (tmp_path / "data/sft.jsonl").exists()
