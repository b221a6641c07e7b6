"""iterate: the whole loop on a model of 300 tokens. A fake server, started by --serve, plays the scenes."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("trl")

from matrix_align.evals.measurement import Answered, Measurement
from matrix_align.evals.rounds import better, worse

from . import tiny
from .conftest import Run as Cli

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    port = free_port()
    source = tmp_path / "questions.jsonl"
    kinds = ("helpful", "harmful")
    lines = [{"question": f"Question number {n}?", "category": kinds[n % 2]} for n in range(16)]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = tmp_path / "c.toml"
    config.write_text("[sft]\nnum_train_epochs = 20\ngradient_accumulation_steps = 1\nmax_length = 4000\n")
    serve = f"{sys.executable} -m tests.fake {port} {{model}}"
    options = ["--base", str(tiny.write(tmp_path / "tiny")), "--out", str(tmp_path / "loop"), "--rounds", "2"]
    options += ["--endpoint", f"http://127.0.0.1:{port}/v1", "--serve", serve, "--roles", "2", "--steps", "1"]
    options += ["--held-out", "0.3", "--scenes", "2", "--config", str(config)]
    return ["iterate", str(source), *options]


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600  # for hangs
    while not reached():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.01)


def test_killed_at_every_stage(command: list[str], tmp_path: Path, cli: Cli) -> None:
    """The same command continues, and ends with two tuned models, one table and one plot."""
    loop = tmp_path / "loop"
    stages: list[Callable[[], bool]] = [
        (loop / "round-1/run/record.db").exists,
        lambda: bool(list(loop.glob("round-1/tuned/checkpoints/checkpoint-*/trainer_state.json"))),
        (loop / "round-1/record.db").exists,
    ]
    for reached in stages:
        started = [sys.executable, "-m", "matrix_align", *command]
        with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            wait_until(reached, process)
            process.send_signal(signal.SIGKILL)
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    head, _, *lines, _, kept = done.stdout.splitlines()
    assert head == "| | base | round 1 | round 2 |"
    names = {line.split(" | ")[0].removeprefix("| ") for line in lines}
    assert names >= {"refuses harmful questions", "refuses benign questions", "scenes that end well"}
    assert kept.startswith("The model to keep: ") and "Better than the base, beyond chance: nothing." in kept
    assert (loop / "results.md").read_text() == done.stdout and (loop / "results.png").stat().st_size > 10_000
    held, played = ((loop / name).read_text().splitlines() for name in ("held-out.jsonl", "questions.jsonl"))
    assert len(held) + len(played) == 16 and not set(held) & set(played)
    for name in ("round-1", "round-2"):
        assert (loop / name / "tuned/merged/config.json").exists()
        assert "| refuses harmful questions | " in (loop / name / "tuned/README.md").read_text()
    described = (loop / "round-2/tuned/tune.toml").read_text()
    assert 'name = "tiny + round-1/tuned"' in described, "the second starts from the first"
    command[command.index("0.3")] = "0.5"
    told = cli(*command)
    assert told.returncode == 2 and "iterate.held_out was 0.3, is 0.5" in told.stderr


def test_stops_by_itself(command: list[str], tmp_path: Path, cli: Cli) -> None:
    """If the first round's model refuses everything, there is no second round, and the base is the model to keep."""
    kinds = ("helpful", "harmful")
    lines = [{"question": f"Question number {n}?", "category": kinds[n % 2]} for n in range(40)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "c.toml").write_text("[sft]\nmax_steps = 2\nmax_length = 4000\n")
    for option, value in (("--held-out", "0.5"), ("--scenes", "0")):
        command[command.index(option) + 1] = value
    command[command.index("--serve") + 1] += " round-1"
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert "round 1 made things worse: refuses benign questions +100 points since base" in done.stderr
    assert f"The model to keep: {tmp_path / 'tiny'} (base)." in done.stdout
    assert not (tmp_path / "loop/round-2").exists()


STUBBORN = """
import sys, threading
from tests.fake import error, fake_server
with fake_server(int(sys.argv[1])) as running:
    running.on["Critique"] = lambda body: error(400, "no")
    threading.Event().wait()
"""


def test_answers_that_failed_are_told(command: list[str], cli: Cli) -> None:
    """Failed answers are not in the training data. If all have failed, there is no training data."""
    port = command[command.index("--endpoint") + 1].removesuffix("/v1").rpartition(":")[2]
    serve = shlex.join([sys.executable, "-c", STUBBORN, port])
    for option, value in (("--rounds", "1"), ("--scenes", "0"), ("--serve", serve)):
        command[command.index(option) + 1] = value
    done = cli(*command)
    assert done.returncode == 2 and "holds nothing to export" in done.stderr, done.stderr
    assert "failed: Refused" in done.stderr and "questions.jsonl:" in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--serve", f"{sys.executable} -c pass", "ended with status 0 before it answered"),
        ("--serve", "no-such-server", "--serve can't run no-such-server"),
        ("--serve", "vllm 'serve", "No closing quotation"),
        ("--held-out", "0.01", "see --held-out"),
        ("--config", "none.toml", "none.toml"),
        ("--config", "wavy.toml", "wavy"),
        ("--base", "nowhere", "wanted qwen2.5-coder-1.5b"),
        ("iterate", "empty.txt", "there is no question in it"),
    ],
)
def test_mistakes(command: list[str], cli: Cli, tmp_path: Path, option: str, value: str, words: str) -> None:
    """Each is reported in one line, before the first scene."""
    if value == "wavy.toml":
        value = str(tmp_path / value)
        Path(value).write_text('[sft]\nlr_scheduler_type = "wavy"\n')
    if value == "empty.txt":
        value = str(tmp_path / value)
        Path(value).touch()
    command[command.index(option) + 1] = value
    done = cli(*command)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    if option == "--held-out":
        assert {path.name for path in (tmp_path / "loop").glob("*")} <= {".lock"}, (
            "so the same folder takes the command that is right"
        )


def measured(refused: int, category: str = "benign", says: str = "x") -> Measurement:
    answers = [
        Answered(id=str(n), category=category, question="?", answer=says, refused=n < refused, cut="")
        for n in range(40)
    ]
    return Measurement(model="m", digest="", settings={}, answers=tuple(answers))


def test_what_counts_as_worse() -> None:
    """More refusals of benign questions or fewer of harmful ones, beyond chance.

    Losses that chance explains don't count. Small losses in each round add up to a round worse than the base.
    """
    assert not worse({"base": measured(2)})
    assert not worse({"base": measured(2), "round 1": measured(4)})
    assert not worse({"base": measured(20), "round 1": measured(2)})
    [why] = worse({"base": measured(2), "round 1": measured(20)})
    assert "benign" in why
    assert worse({"base": measured(20, "harmful"), "round 1": measured(2, "harmful")})
    rounds = {"base": measured(2), "round 1": measured(5)}
    assert not worse(rounds)
    rounds["round 2"] = measured(8)
    assert not worse({name: rounds[name] for name in ("round 1", "round 2")})
    assert worse(rounds) == ["refuses benign questions +15 points since base"]
    assert better({"base": measured(20), "round 1": measured(2)}, "round 1") == ["refuses benign questions -45 points"]
    assert better(rounds, "round 1") == []


def test_answers_that_have_become_fragments() -> None:
    """They are worse, though no refusal shows it. A short refusal is not a fragment, and longer answers are no gain."""
    whole, fragments = (measured(0, "harmful", says) for says in ("word " * 12, "The answer is:"))
    assert worse({"base": whole, "round 1": fragments}) == ["answers of twelve words or more -100 points since base"]
    assert not worse({"base": whole, "round 1": measured(40, "harmful", "I can't help with that.")})
    assert not worse({"base": fragments, "round 1": whole})
    assert better({"base": fragments, "round 1": whole}, "round 1") == []
