"""The heads of prompts on disk: which are kept, by whom they can be used, and what harms them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from matrix_align.llm import heads as module
from matrix_align.llm.builtin import BUILTIN
from matrix_align.llm.heads import Heads
from matrix_align.llm.local import Served, serve
from matrix_align.llm.prefix_cache import Slotted
from matrix_align.types import Message, Sampling, Usage

from .embedded import MODEL, real_weights
from .llama import Llama, llama

SAMPLING = Sampling(temperature=0, max_tokens=16, seed=1)
EXAMPLES = ("Is it wet? " * 60, "Yes.")  # what each prompt begins with


def prompt(last: str, examples: tuple[str, ...] = EXAMPLES) -> list[Message]:
    roles = ("user", "assistant")
    return [Message(role=roles[n % 2], content=text) for n, text in enumerate((*examples, last))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "heads"


async def asked(server: Llama, folder: Path, *prompts: list[Message], digest: str = "d") -> None:
    """A process that asks these prompts, one after the other: it has new slots, and nothing but the folder is old."""
    here = Served(server.url, "key", "m", digest, 2, states=server.states, heads=Heads(folder, "llama 1"))
    server.did.clear()
    server.read.clear()
    async with Slotted(here) as model:
        for each in prompts:
            await model.ask(each, str, SAMPLING)


def states(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.state"))


async def test_head_that_comes_twice_is_restored_by_later_processes(folder: Path) -> None:
    async with llama() as server:
        await asked(server, folder, prompt("Is the sea?"))
        assert not states(folder)
        await asked(server, folder, prompt("Is rain?"))
        [state] = states(folder)
        assert b"rain" not in state.read_bytes(), "what is asked stays out of the file"
        await asked(server, folder, prompt("Is sand?"))
        assert server.did == {"restore": 1, "completion": 1, "save": 1}
        assert server.restored == [state.read_bytes().decode()]
        assert states(folder) == [state]


async def test_prompts_of_one_message_have_no_head(folder: Path) -> None:
    async with llama() as server:
        for _ in range(3):
            await asked(server, folder, prompt("Is it wet? " * 60, examples=()))
    assert not states(folder)


async def test_other_weights_take_no_state(folder: Path) -> None:
    async with llama() as server:
        await asked(server, folder, prompt("Is the sea?"), prompt("Is rain?"))
        await asked(server, folder, prompt("Is sand?"), digest="of others")
        assert server.did["restore"] == 0
        await asked(server, folder, prompt("Is sand?"))
        assert server.did["restore"] == 1


async def test_state_that_the_server_refuses_is_removed(folder: Path) -> None:
    async with llama() as server:
        await asked(server, folder, prompt("Is the sea?"), prompt("Is rain?"))
        server.refuses = "restore"
        await asked(server, folder, prompt("Is sand?"))
        assert server.did["save"] == 2, "the head's is written anew"
        server.refuses = ""
        await asked(server, folder, prompt("Is fog?"))
        assert len(server.restored) == 1


async def test_disk_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with llama() as server:
        for _ in range(3):
            await asked(server, tmp_path / "file" / "heads", prompt("Is the sea?"), prompt("Is rain?"))
            assert server.did["completion"] == 2


@pytest.mark.parametrize("damage", [b"", b"half", b"longer than it was"])
def test_damaged_file_is_removed(folder: Path, damage: bytes) -> None:
    heads = Heads(folder, "llama 1")
    assert not heads.comes_again("head")
    assert heads.comes_again("head")
    heads.keep("head", b"the state")
    assert heads.state("head") == b"the state"
    [state] = states(folder)
    state.write_bytes(damage)
    assert heads.state("head") is None
    assert not states(folder)


def test_other_engines_and_heads_have_states_of_their_own(folder: Path) -> None:
    heads = Heads(folder, "llama 1")
    heads.comes_again("head")
    heads.keep("head", b"the state")
    assert heads.state("another head") is None
    assert Heads(folder, "llama 2").state("head") is None
    assert Heads(folder, "llama 1").state("head") == b"the state"


def test_bounds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The states and marks that were not used for longest go. Other files stay, and so does what is being written."""
    monkeypatch.setattr(module, "BOUND", 350)
    monkeypatch.setattr(module, "SEEN", 3)
    heads = Heads(folder, "llama 1")
    for number in range(5):
        heads.comes_again(str(number))
    (folder / "notes.txt").write_text("mine")
    (folder / "1.part").touch()
    (folder / "2.part").touch()
    os.utime(folder / "1.part", (0, 0))
    for number in range(5):
        heads.keep(str(number), bytes([number]) * 100)
        heads.state("0")
        for age, path in enumerate(sorted(states(folder), key=lambda each: each.stat().st_mtime, reverse=True)):
            os.utime(path, (time.time() - 10 - age,) * 2)  # some disks count in whole seconds
    assert [number for number in range(5) if heads.has(str(number))] == [0, 3, 4]
    assert len(list(folder.glob("*.seen"))) == 3
    assert {path.name for path in folder.iterdir()} >= {"notes.txt", "2.part"}
    assert not (folder / "1.part").exists()


WRITER = """
import sys
from pathlib import Path
from matrix_align.llm.heads import Heads
heads = Heads(Path(sys.argv[1]), "llama 1")
for number in range(15):
    heads.keep("head", bytes([number % 7]) * 3_000_000)
"""


def test_several_processes_at_once(folder: Path) -> None:
    """While two write, every state that a third finds is a whole one, and none is taken for damaged."""
    heads = Heads(folder, "llama 1")
    heads.comes_again("head")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(folder)]) for _ in range(2)]
    found = []
    while any(writer.poll() is None for writer in writers):
        found.append((len(states(folder)), heads.state("head")))
    assert [writer.returncode for writer in writers] == [0, 0]
    assert any(state for _, state in found)
    assert all(state is None or (len(state), len(set(state))) == (3_000_000, 1) for _, state in found)
    assert all(before <= after for (before, _), (after, _) in pairwise(found))


@pytest.mark.embedded
def test_real_server_reads_a_head_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second server reads only the ends of its prompts, by its own count, and says the same as without the disk."""
    monkeypatch.setenv("MATRIX_ALIGN_CACHE", str(folder.parent))
    (folder.parent / BUILTIN[MODEL].kept).symlink_to(real_weights())
    lasts = ("Is the sea?", "Is rain?")

    async def replies() -> list[tuple[str, Usage]]:
        with serve(MODEL, slots=1) as served:
            async with Slotted(served) as model:
                said = [await model.ask(prompt(last), str, SAMPLING) for last in lasts]
                return [(reply.text, reply.usage) for reply in said]

    first, later = asyncio.run(replies()), asyncio.run(replies())
    assert [text for text, _ in later] == [text for text, _ in first]
    assert first[0][1].cached_tokens < 20
    assert all(usage.prompt_tokens - usage.cached_tokens < 20 for _, usage in later)
