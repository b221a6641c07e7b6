"""Models at the hub, on a fake one over real HTTP: what is fetched, what holds offline, what is said of mistakes."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from matrix_align.llm.weights import weights_of
from matrix_align.provenance import tables_in

from . import tiny_gguf
from .conftest import Run, complaint
from .model_hub import COMMIT, TOKEN, ModelHub, empty_hub, sha, unreachable

__all__ = ["empty_hub", "unreachable"]  # fixtures

REPO = "some/a-GGUF"
PARTS = [f"F16/a-F16-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
FILES = {
    "README.md": b"# A",
    "a-Q4_K_M.gguf": b"GGUF q4" + bytes(3000),
    "a-q8_0.gguf": b"GGUF q8" + bytes(5000),
    "mmproj-a-Q4_K_M.gguf": b"GGUF of a projector",
    **{name: f"GGUF {name}".encode() for name in PARTS},
}


@pytest.fixture
def hub(empty_hub: ModelHub) -> ModelHub:
    empty_hub.files[REPO] = dict(FILES)
    return empty_hub


def fetched(hub: ModelHub) -> set[str]:
    """The files that were sent."""
    return {line.partition("/resolve/")[2].split("/", 1)[1] for line in hub.asked if line.startswith("GET /some")}


NAMES = {
    f"hf:{REPO}": "a-Q4_K_M.gguf",
    f"hf:{REPO}:Q8_0": "a-q8_0.gguf",
    f"hf.co/{REPO}:q8_0": "a-q8_0.gguf",
    f"hf:{REPO}:a-Q4_K_M.gguf@{COMMIT}": "a-Q4_K_M.gguf",
    f"https://huggingface.co/{REPO}/blob/main/a-q8_0.gguf": "a-q8_0.gguf",
    f"https://huggingface.co/{REPO}/resolve/{COMMIT}/a-q8_0.gguf": "a-q8_0.gguf",
}


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "network"])
@pytest.mark.parametrize("name", NAMES)
def test_every_form_also_offline(name: str, how: str, hub: ModelHub, unreachable: Any, cli: Run) -> None:
    """Only the wanted file is fetched, and it is the same when the hub can't be reached."""
    first = cli("models", name, "--json")
    assert (first.returncode, first.stderr) == (0, "")
    found, file = json.loads(first.stdout), NAMES[name]
    assert fetched(hub) == {file}
    assert Path(found["path"]).read_bytes() == FILES[file]
    assert found["name"] == file.removesuffix(".gguf")
    assert found["digest"] == sha(FILES[file])
    assert found["source"] == f"hf:{REPO}:{file}@{COMMIT}"
    unreachable(how)
    again = cli("models", name, "--json")
    assert (again.stdout, again.stderr) == (first.stdout, "")


@pytest.mark.parametrize("name", [f"hf:{REPO}:f16", f"hf:{REPO}:{PARTS[1]}"])
def test_split_model(name: str, hub: ModelHub, unreachable: Any) -> None:
    """All parts are fetched; the first one is what is opened; the digest is over all of them."""
    found = weights_of(name)
    assert fetched(hub) == set(PARTS)
    assert (found.name, found.path.name) == ("a-F16", "a-F16-00001-of-00003.gguf")
    assert {path.name for path in found.path.parent.iterdir()} == {part.split("/")[1] for part in PARTS}
    assert found.digest == hashlib.sha256(" ".join(sha(FILES[part]) for part in PARTS).encode()).hexdigest()
    assert weights_of(str(found.path)).digest == found.digest
    unreachable("network")
    assert weights_of(name) == found


def test_split_model_that_was_stopped(hub: ModelHub, unreachable: Any, cli: Run, tmp_path: Path) -> None:
    """Without one of its parts it is not taken from the cache; with the hub only that part is fetched."""
    found = weights_of(f"hf:{REPO}:f16")
    second = found.path.parent / PARTS[1].split("/")[1]
    second.resolve().unlink()
    second.unlink()
    hub.asked = []
    assert weights_of(f"hf:{REPO}:f16") == found
    assert fetched(hub) == {PARTS[1]}
    second.unlink()
    unreachable("network")
    assert "not in the cache" in complaint(cli("models", f"hf:{REPO}:f16"))


def test_connection_that_breaks(hub: ModelHub) -> None:
    """The fetch goes on where it was."""
    hub.broken = 1
    assert weights_of(f"hf:{REPO}").path.read_bytes() == FILES["a-Q4_K_M.gguf"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"hf:{REPO}:Q5_0", "there is no Q5_0; there are F16, Q4_K_M, q8_0"),
        (f"hf:{REPO}:b.gguf", "no such file of a language model; there are F16/a-F16-00001-of-00003.gguf, a-Q4_K_M"),
        (f"hf:{REPO}:mmproj-a-Q4_K_M.gguf", "no such file of a language model"),
        (f"hf:{REPO}@v9", f"{REPO} has no revision v9"),
        ("hf:some/other", "knows no some/other, or it is private: then log in with HF_TOKEN"),
        ("hf:some/secret", "knows no some/secret, or it is private: then log in with HF_TOKEN"),
        ("hf:some/gated", "accept its terms"),
        ("hf:some/plain", "some/plain holds no GGUF file"),
        ("hf:some--/x..y", "no name of a repository"),
        ("hf:some", "wanted qwen2.5-coder-1.5b"),
        ("gpt-4", "give --endpoint URL too"),
        ("nowhere.gguf", "can't read nowhere.gguf: No such file"),
    ],
)
def test_mistakes(name: str, words: str, hub: ModelHub, cli: Run) -> None:
    hub.files |= {"some/secret": FILES, "some/gated": FILES, "some/plain": {"model.safetensors": b"1"}}
    hub.private, hub.gated = {"some/secret"}, {"some/gated"}
    said = complaint(cli("models", name))
    assert words in said
    assert fetched(hub) == set()
    assert complaint(cli("simulate", "How do I ask?", "--model", name)) == said


def test_token(hub: ModelHub, cli: Run) -> None:
    hub.files["some/secret"], hub.private = FILES, {"some/secret"}
    assert cli("models", "hf:some/secret", HF_TOKEN=TOKEN).returncode == 0
    said = complaint(cli("models", f"hf:{REPO}:q8_0", HF_TOKEN="hf_wrong"))
    assert "refuses HF_TOKEN (401)" in said
    assert "hf_wrong" not in said
    assert "HF_TOKEN holds 'ö', which no token holds" in complaint(cli("models", f"hf:{REPO}", HF_TOKEN="hf_wörng"))


def test_not_cached_and_offline(hub: ModelHub, unreachable: Any, cli: Run) -> None:
    """The line names what is cached of the same model."""
    weights_of(f"hf:{REPO}:q8_0")
    unreachable("HF_HUB_OFFLINE")
    said = complaint(cli("models", f"hf:{REPO}"))
    assert "Q4_K_M is not in the cache (it holds a-q8_0.gguf of it), and HF_HUB_OFFLINE is set" in said


def test_disk_without_room(hub: ModelHub, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is fetched. What is here already needs no room."""
    weights_of(f"hf:{REPO}:q8_0")
    hub.asked = []
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2000))
    said = complaint(cli("models", f"hf:{REPO}"))
    assert f"needs 0 MB in {tmp_path / 'hub'}" in said
    assert "HF_HOME" in said
    assert fetched(hub) == set()
    assert cli("models", f"hf:{REPO}:q8_0").returncode == 0


def test_cache_that_can_not_be_written(
    hub: ModelHub, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the disk is found to be full only while a file is written."""
    import huggingface_hub.constants as constants

    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    said = complaint(cli("models", f"hf:{REPO}"))
    assert f"can't keep hf:{REPO}:Q4_K_M ({tmp_path / 'file'}" in said
    assert "Not a directory); free some room there, or name another folder with HF_HOME" in said
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/dev/full")
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("huggingface_hub.HfApi.hf_hub_download", Mock(side_effect=full))
    assert "(/dev/full: No space left on device); free some" in complaint(cli("models", f"hf:{REPO}"))


def test_damaged_file(hub: ModelHub, cli: Run) -> None:
    """The line names the file to delete; that done, it is fetched again."""
    path = weights_of(f"hf:{REPO}").path
    path.resolve().write_bytes(b"GGUF" + bytes(3003))
    said = complaint(cli("models", f"hf:{REPO}"))
    assert f"{path.resolve()} is damaged; delete it" in said
    path.resolve().unlink()
    assert weights_of(f"hf:{REPO}").path.read_bytes() == FILES["a-Q4_K_M.gguf"]


def test_file_that_is_no_gguf(hub: ModelHub, cli: Run) -> None:
    hub.files["some/fake"] = {"a-Q4_K_M.gguf": b"<!DOCTYPE html>"}
    assert "no GGUF file" in complaint(cli("models", "hf:some/fake"))


def test_list(hub: ModelHub, cli: Run) -> None:
    """What is built in, with sizes and licences, then what the hub's cache holds, a split model as one."""
    weights_of(f"hf:{REPO}:f16")
    weights_of(f"hf:{REPO}:q8_0")
    rows = json.loads(cli("models", "--json").stdout)
    assert [row["name"] for row in rows[:3]] == ["qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b", "smollm2-135m"]
    assert {row["licence"] for row in rows[:3]} == {"Apache-2.0"}
    assert {row["path"] for row in rows[:3]} == {""}
    cached = {row["name"]: row["size"] for row in rows[3:]}
    assert cached == {
        f"hf:{REPO}:{PARTS[0]}": sum(len(FILES[part]) for part in PARTS),
        f"hf:{REPO}:a-q8_0.gguf": len(FILES["a-q8_0.gguf"]),
    }
    for name in cached:
        assert cli("models", name).returncode == 0, "what is listed can be named"
    shown = cli("models").stdout
    assert "1.1 GB" in shown and "not measured" in shown


def test_run_on_a_model_of_the_hub(hub: ModelHub, unreachable: Any, cli: Run, tmp_path: Path) -> None:
    """It answers; the commit stands in run.toml beside the digest. The same file by another name resumes the run."""
    path = tiny_gguf.write(tmp_path / "tiny-Q4_K_M.gguf", "llama")
    hub.files["some/tiny"] = {path.name: path.read_bytes()}
    (tmp_path / "questions.txt").write_text("Who?\n")
    out = str(tmp_path / "run")
    options = ("--method", "vanilla", "--answer-tokens", "4", "--out", out)
    done = cli("generate", str(tmp_path / "questions.txt"), "--model", "hf:some/tiny", *options)
    assert done.returncode == 0, done.stderr
    assert tables_in(tmp_path / "run" / "run.toml")["model"] == {
        "name": "tiny-Q4_K_M",
        "digest": sha(path.read_bytes()),
        "source": f"hf:some/tiny:{path.name}@{COMMIT}",
    }
    assert "tokens/s" not in cli("models").stdout, "a few tokens say little of the speed"
    unreachable("network")
    for name in ("hf:some/tiny", str(path)):
        again = cli("generate", "--model", name, "--out", out)
        assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("broken", ["", "[1]", '{"a": "fast"}'])
def test_speed_here(hub: ModelHub, cli: Run, tmp_path: Path, broken: str) -> None:
    """It is that of the last use. A file of speeds that is broken is written anew."""
    path = tiny_gguf.write(tmp_path / "tiny-Q4_K_M.gguf", "llama")
    hub.files["some/tiny"] = {path.name: path.read_bytes()}
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/speeds.json").write_text(broken)
    weights_of("hf:some/tiny")
    assert "tokens/s" not in cli("models").stdout
    (tmp_path / "questions.txt").write_text("".join(f"Who is number {number}?\n" for number in range(12)))
    options = ("--method", "vanilla", "--answer-tokens", "200", "--out", str(tmp_path / "run"))
    done = cli("generate", str(tmp_path / "questions.txt"), "--model", str(path), *options)
    assert done.returncode == 0, done.stderr
    [row] = [row for row in json.loads(cli("models", "--json").stdout) if row["speed"]]
    assert row["name"] == f"hf:some/tiny:{path.name}" and row["speed"] > 0
    assert f"{row['speed']:.0f} tokens/s" in cli("models").stdout
