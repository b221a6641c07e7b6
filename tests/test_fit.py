"""Whether a model fits here is said before it is fetched: in one line, with what would fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from matrix_align.cli.options import setup_of
from matrix_align.llm import machine
from matrix_align.llm.builtin import BUILTIN, DEFAULT, OTHER, Suited
from matrix_align.provenance import tables_in

from . import tiny_gguf
from .conftest import ASKED, Run, complaint
from .tiny_builtin import TINY, cache

__all__ = ["cache"]  # fixture


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Callable[[float], None]:
    """Sets how many bytes of memory are free. What is built in is what everybody has."""
    monkeypatch.delitem(BUILTIN, "tiny")
    return lambda count: monkeypatch.setattr(machine, "free_memory", lambda: int(count))


@pytest.mark.parametrize(
    ("gigabytes", "model", "words"),
    [
        (2.0, (), f"{DEFAULT} needs about 2.9 GB of memory, and 2.0 GB are free here; free some, or give --model"),
        (2.0, (), "--model qwen2.5-coder-0.5b, which needs 1.5 GB"),
        (1.4, (), "--model smollm2-135m, which needs 1.3 GB"),
        (0.5, (), "500 MB are free here; free some, or give --endpoint URL"),
        (0.5, ("--model", "smollm2-135m"), "smollm2-135m needs about 1.3 GB of memory"),
        (0.1, ("--model", "large.gguf"), "large needs about 402 MB of memory, and 100 MB are free here; free some"),
    ],
)
def test_too_little_memory(
    gigabytes: float,
    model: tuple[str, ...],
    words: str,
    free: Callable[[float], None],
    cache: Path,
    cli: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free(gigabytes * 1e9)
    monkeypatch.chdir(tmp_path)
    tiny_gguf.write(Path("large.gguf"), "llama")
    assert words in complaint(cli("simulate", ASKED, *model))
    assert not cache.exists(), "nothing was fetched"


def test_list_says_what_fits(free: Callable[[float], None], cli: Run) -> None:
    free(1.5e9)
    fits = {row["name"]: row["fits"] for row in json.loads(cli("models", "--json").stdout)}
    assert fits == {"qwen2.5-coder-1.5b": False, "qwen2.5-coder-0.5b": True, "smollm2-135m": True}
    assert cli("models").stdout.splitlines()[1].split()[-4:-2] == ["no", "no"]


@pytest.mark.parametrize(("cores", "size", "slow"), [(1, 3e9, True), (2, 3e9, True), (3, 3e9, False), (1, 98e6, False)])
def test_model_of_the_list_with_its_own_settings(
    cores: int,
    size: float,
    slow: bool,
    free: Callable[[float], None],
    cache: Path,
    cli: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It answers with the settings of its entry. Few cores for its size are told, with the next smaller one."""
    cache.mkdir()
    tiny_gguf.write(cache / TINY.file, "llama")
    monkeypatch.setitem(BUILTIN, "tiny", replace(TINY, size=int(size)))
    free(1e12)
    monkeypatch.setattr(machine, "cores", lambda: cores)
    (tmp_path / "questions.txt").write_text("Who?\n")
    run = tmp_path / "run"
    command = ("generate", str(tmp_path / "questions.txt"), "--method", "vanilla", "--model", "Tiny", "--out", str(run))
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    on = "1 core" if cores == 1 else f"{cores} cores"
    assert (f"tiny will be slow on {on}; --model qwen2.5-coder-1.5b is faster\n" in done.stderr) == slow
    sampling = tables_in(run / "run.toml")["sampling"]
    assert (sampling["max_tokens"], sampling["temperature"]) == (TINY.suited.max_tokens, TINY.suited.temperature)


@pytest.mark.parametrize(
    ("endpoint", "model", "suited"),
    [
        (None, None, BUILTIN[DEFAULT].suited),
        (None, "smollm2-135m", BUILTIN["smollm2-135m"].suited),
        (None, "SmolLM2-135M", BUILTIN["smollm2-135m"].suited),
        (None, "hf:some/model", OTHER),
        (None, "model.gguf", OTHER),
        ("http://localhost:8000/v1", None, Suited(1024, 0.7, 20_000, "full")),
        ("http://localhost:8000/v1", "smollm2-135m", Suited(1024, 0.7, 20_000, "full")),
    ],
)
def test_settings_where_none_are_given(endpoint: str | None, model: str | None, suited: Suited) -> None:
    """They are the model's; at an endpoint they are the same for all. What is given counts first."""
    setup = setup_of(endpoint, model, 0, None, None)
    assert vars(suited) == {name: setup.flat()[name] for name in vars(suited)}
    given = setup_of(endpoint, model, 0, 0.0, 7, memory=9, detail="brief").flat()
    assert (given["temperature"], given["max_tokens"], given["memory"], given["detail"]) == (0.0, 7, 9, "brief")


def group(folder: Path, **files: object) -> None:
    """A control group as Linux shows it, with `limit__max` for the file limit.max."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_limits_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tightest limit counts, of the own group and of those around it. Files in the cache are no use of memory."""
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN", tmp_path / "own")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64), raising=False)
    (tmp_path / "own").write_text("0::/job/step\n")
    group(tmp_path / "job", memory__max=9_000, memory__current=5_000, memory__stat="anon 10\nactive_file 500\nslab 9")
    group(
        tmp_path / "job/step", memory__max="max", memory__current=5_000, memory__stat="anon 10", cpu__max="max 100000"
    )
    assert (machine.free_memory(), machine.cores()) == (4_500, 64)
    group(tmp_path / "job", cpu__max="150000 100000")
    assert machine.cores() == 2, "a core and a half"
    group(tmp_path / "job/step", memory__max=4_000)
    assert machine.free_memory() == 0


def test_limits_of_control_groups_of_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container sees its own limits at the top, and a path that is not there."""
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN", tmp_path / "own")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64), raising=False)
    (tmp_path / "own").write_text("4:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n0::/\n")
    group(tmp_path / "cpu", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100_000)
    assert machine.cores() == 64
    group(tmp_path / "cpu", cpu__cfs_quota_us=50_000)
    group(tmp_path / "memory", memory__limit_in_bytes=9_000, memory__usage_in_bytes=5_000)
    group(tmp_path / "memory", memory__stat="total_inactive_file 100\ninactive_file 7")
    assert (machine.free_memory(), machine.cores()) == (4_100, 1)


def test_machine_without_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "OWN", tmp_path / "none")
    assert machine.free_memory() > 0
    assert machine.cores() >= 1
