"""Shared by the tests: a fake endpoint, a scene played on it, the real embedded model, and the command line."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings

from matrix_align import METHODS, Answer, Endpoint, Model, Question, Sampling, Scene, Settings, Store
from matrix_align.llm import http as http_module
from matrix_align.methods import Setup

from .asking import Waits
from .fake import FakeServer, fake_server

if TYPE_CHECKING:
    from .gateway import Served

hypothesis_settings.register_profile("unhurried", deadline=None)  # a busy machine is no fault
hypothesis_settings.load_profile("unhurried")

# Two files are tested at a time, and on a busy machine the threads of one computation wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

HANG = 300  # seconds after which a process has come to a standstill, on whatever machine
KEYS = ("MATRIX_ALIGN_API_KEY", "OPENAI_API_KEY")
ASKED = "How do I ask for a raise?"
SMALL = ("--roles", "3", "--steps", "2")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway and the fake endpoint behind it, for all tests of a file."""
    from .gateway import serving

    with fake_server() as server, serving(server, tmp_path_factory.mktemp("gateway") / "scenes.db") as served:
        yield served


@pytest.fixture
def served(gateway: Served) -> Served:
    """The file's gateway. Its record has the scenes of the tests before."""
    gateway.afresh()
    return gateway


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path for a new record."""
    return tmp_path / "scenes.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A source of twelve questions."""
    path = tmp_path / "questions.txt"
    path.write_text("".join(f"How do I plant tree number {number}?\n" for number in range(12)))
    return path


@pytest.fixture
async def model(server: FakeServer) -> AsyncIterator[Endpoint]:
    async with Endpoint(server.url, server.name, attempts=3) as endpoint:
        yield endpoint


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """The waits before requests were sent again, in seconds. Nothing really waits."""
    noted = Waits()
    monkeypatch.setattr(http_module, "asyncio", noted)
    return noted


def matrix(**settings: Any) -> Setup:
    """A small scene around each question, unless `settings` say otherwise."""
    given = Settings(**{"roles": 2, "steps": 1, **settings})
    return Setup(METHODS["matrix"], given, Sampling())


async def watched(
    model: Model,
    question: str | Question = "How do I ask for a raise?",
    sampling: Sampling | None = None,
    **settings: Any,
) -> AsyncGenerator[Answer, None]:
    """Every state of the answer as `matrix` makes it. `settings` are the scene's."""
    asked = question if isinstance(question, Question) else Question(text=question)
    given = Settings(**{"roles": 3, "steps": 3, **settings})
    async for answer in Setup(METHODS["matrix"], given, sampling or Sampling()).answer(asked, model):
        yield answer


async def answered(model: Model, *args: Any, **settings: Any) -> tuple[Answer, Scene]:
    """The finished answer, and the scene behind it."""
    answers = [answer async for answer in watched(model, *args, **settings)]
    return answers[-1], Scene.of(answers[-1])


async def played(model: Model, *args: Any, **settings: Any) -> Scene:
    """The scene behind the finished answer."""
    return (await answered(model, *args, **settings))[1]


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread for models of 300 tokens, here and in processes started here.

    Two threads would wait for each other. On a busy machine they would do nothing else.
    """
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `matrix-align …` in this process, with a store of its own. Returns what it did. `stdin` is a text."""
    from matrix_align.cli import main

    def run(*args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code: Any = 0
        before, wanted = dict(os.environ), environment(tmp_path, **env)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["matrix-align", *args])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
            try:
                os.environ.clear()
                os.environ.update(wanted)
                main()
            except SystemExit as end:
                code = end.code or 0
            finally:  # a command may set more
                os.environ.clear()
                os.environ.update(before)
        return subprocess.CompletedProcess(list(args), code, *capsys.readouterr())

    return run


@pytest.fixture
def cli_process(tmp_path: Path) -> Run:
    """Runs the same in a process of its own, for output that does not go through Python's streams."""

    def run(*args: str, timeout: float = HANG, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "matrix_align", *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment(tmp_path, **env),
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture
def simulate(cli: Run, server: FakeServer) -> Run:
    """`simulate` with the fake endpoint, three roles and two steps."""

    def run(*args: str, **given: str) -> subprocess.CompletedProcess[str]:
        return cli("simulate", *args, *SMALL, "--endpoint", server.url, **given)

    return run


def started(folder: Path, *args: str, **env: str) -> subprocess.Popen[str]:
    """`matrix-align …` as a process of its own, still running."""
    return subprocess.Popen(
        [sys.executable, "-m", "matrix_align", *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(folder, **env),
    )


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment for a command: a store in `folder`, a terminal of 80 columns, and no key."""
    kept = {name: value for name, value in os.environ.items() if name not in KEYS}
    return {**kept, "MATRIX_ALIGN_STORE": str(folder / "scenes.db"), "COLUMNS": "80", **more}


def complaint(done: subprocess.CompletedProcess[str], code: int = 2, beside: str = "") -> str:
    """The single line on standard error with which the command failed, after what was told `beside` it."""
    assert done.stdout == ""
    said = beside_weights(done.stderr).removeprefix(beside)
    assert len(said.splitlines()) == 1, said
    assert said.startswith("matrix-align: ")
    assert len(said.split()) > 3
    assert "Traceback" not in said
    assert done.returncode == code
    return said


WEIGHTS = ("which weights these are", "weights are known by", "name the weights with --digest")


def beside_weights(stderr: str) -> str:
    """What a command wrote to standard error, without the line on the server's weights."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not any(words in line for words in WEIGHTS))


def answer_of(done: subprocess.CompletedProcess[str]) -> Answer:
    """The answer on standard output. Nothing else may be there, and nothing on standard error."""
    assert (done.returncode, beside_weights(done.stderr)) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    return Answer.model_validate_json(done.stdout)
