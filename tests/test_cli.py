"""The command line as a person runs it: a process of its own, against the fake endpoint over real HTTP."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from matrix_align import Answer, Question, Store

from .conftest import Run
from .fake import FakeServer, error

ASKED = "How do I ask for a raise?"
SMALL = ("--roles", "3", "--steps", "2")

Simulate = Callable[..., subprocess.CompletedProcess[str]]


def started(tmp_path: Path, *args: str, **env: str) -> subprocess.Popen[str]:
    """The command as a process that is still running."""
    return subprocess.Popen(
        [sys.executable, "-m", "matrix_align", *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MATRIX_ALIGN_STORE": str(tmp_path / "scenes.db"), "COLUMNS": "80", **env},
    )


@pytest.fixture
def simulate(cli: Run, server: FakeServer) -> Simulate:
    """`simulate` with the fake endpoint, three roles and two steps."""

    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return cli("simulate", *args, *SMALL, "--endpoint", server.url, **env)

    return run


def answer_of(done: subprocess.CompletedProcess[str]) -> Answer:
    """The scene on standard output; nothing else may be there, and nothing on standard error."""
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    return Answer.model_validate_json(done.stdout)


def complaint(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The one line on standard error with which the command failed."""
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("matrix-align: ")
    assert len(done.stderr.split()) > 3
    assert "Traceback" not in done.stderr
    assert done.returncode == code
    return done.stderr


def seeds(server: FakeServer) -> list[int]:
    """The seeds of what was asked: each call of a scene has its own."""
    return [body["seed"] for body in server.requests]


def committed(store: Path) -> set[int]:
    """The seeds of the calls that the record holds."""
    with closing(sqlite3.connect(store)) as record:
        return {json.loads(text)["sampling"]["seed"] for (text,) in record.execute("SELECT request FROM calls")}


# What a person sees. ----------------------------------------------------------------------------------------------


def test_prints_the_scene_at_80_columns(simulate: Simulate, server: FakeServer) -> None:
    """Question, setting, roles, every event, both responses and the figures, on standard output, and nothing else."""
    server.on["text"] = lambda body: (
        "Ask 日本の上司 first. " * 9 if server.kinds().count("text") == 1 else "Wait a week."
    )
    done = simulate(ASKED)
    assert (done.returncode, done.stderr) == (0, "")
    for part in (ASKED, "Initial response", "日本の上司", "setting thing", "Plan", "step 1", "step 2", "seen by"):
        assert part in done.stdout
    for part in ("The end: plan done", "Critique", "Better:", "Revised response", "Wait a week.", "depth", "cached"):
        assert part in done.stdout
    requests = len(server.requests)
    assert f"{requests} calls · " in done.stdout
    assert max(map(cell_len, done.stdout.splitlines())) <= 80


def test_what_a_model_wrote_is_no_markup_and_moves_no_cursor(simulate: Simulate, server: FakeServer) -> None:
    server.on["text"] = lambda body: "Use [bold]brackets[/bold] and \x1b[2J\x1b]0;title\x07 [/nothing]."
    done = simulate(ASKED)
    assert done.returncode == 0
    assert "[bold]brackets[/bold]" in done.stdout
    assert "\x1b" not in done.stdout


def test_json_is_one_object_and_nothing_else(simulate: Simulate) -> None:
    answer = answer_of(simulate(ASKED, "--json", "--seed", "4"))
    assert answer.question == Question(text=ASKED)
    assert (answer.settings, answer.sampling.seed) == ({"roles": 3, "steps": 2, "memory": 6000}, 4)
    assert answer.ending
    assert answer.text
    assert answer.usage.cached_tokens > 0


def test_chat_gives_earlier_turns_and_a_system_prompt(simulate: Simulate, server: FakeServer, tmp_path: Path) -> None:
    chat = [("system", "Be brief."), ("user", "I work in a bakery."), ("assistant", "I see."), ("user", ASKED)]
    file = tmp_path / "chat.json"
    file.write_text(json.dumps([{"role": role, "content": content} for role, content in chat]))
    answer = answer_of(simulate("--chat", str(file), "--json"))
    assert answer.question.text == ASKED
    assert answer.question.system == "Be brief."
    assert server.requests[0]["messages"] == json.loads(file.read_text())


def test_question_from_standard_input(server: FakeServer, tmp_path: Path) -> None:
    process = started(tmp_path, "simulate", "-", *SMALL, "--endpoint", server.url, "--json")
    out, _ = process.communicate(f"{ASKED}\nI have worked there for two years.\n", timeout=60)
    assert process.returncode == 0
    assert Answer.model_validate_json(out).question.text == f"{ASKED}\nI have worked there for two years."


def test_the_same_command_again_asks_for_nothing(simulate: Simulate, server: FakeServer) -> None:
    """The scene is the same; only where its calls came from differs. Another seed is another scene."""
    first = answer_of(simulate(ASKED, "--json"))
    requests = len(server.requests)
    again = answer_of(simulate(ASKED, "--json"))
    assert len(server.requests) == requests
    assert all(call.recorded for call in again.calls)
    calls = tuple(call.model_copy(update={"recorded": False}) for call in again.calls)
    assert again.having(calls=calls).model_dump() == first.model_dump()
    assert f"{requests} from the record" in simulate(ASKED).stdout
    assert len(server.requests) == requests
    assert answer_of(simulate(ASKED, "--json", "--seed", "1")).id != first.id
    assert len(server.requests) == 2 * requests


def test_scenes_lists_and_shows(simulate: Simulate, cli: Run) -> None:
    """Newest first; one scene is printed again as it was, by its id or the beginning of it."""
    printed = simulate(ASKED).stdout
    first = answer_of(simulate(ASKED, "--json"))
    second = answer_of(simulate("How do I [b]repair[/b] a bicycle? " * 9, "--json"))
    listed = cli("scenes").stdout
    assert listed.index(second.id) < listed.index(first.id)
    assert "How do I [b]repair[/b]" in listed
    assert max(map(cell_len, listed.splitlines())) <= 80
    rows = json.loads(cli("scenes", "--json").stdout)
    assert [(row["id"], row["state"], row["calls"]) for row in rows] == [
        (answer.id, "plan done", len(answer.calls)) for answer in (second, first)
    ]
    assert len(json.loads(cli("scenes", "--json", "--limit", "1").stdout)) == 1
    assert answer_of(cli("scenes", "show", first.id, "--json")) == first
    for id in (first.id, first.id[:6]):
        shown = cli("scenes", "show", id)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert shown.stdout.split(" calls ")[0] == printed.split(" calls ")[0]


def test_scenes_of_an_empty_record(cli: Run, tmp_path: Path) -> None:
    """Looking at a record that is not there makes none."""
    assert "there is no record" in complaint(cli("scenes"))
    assert not (tmp_path / "scenes.db").exists()
    Store(tmp_path / "scenes.db").__exit__()
    assert "No scenes yet" in cli("scenes").stdout
    assert cli("scenes", "--json").stdout == "[]\n"


# The key. ---------------------------------------------------------------------------------------------------------


def test_key_comes_from_the_environment(simulate: Simulate, server: FakeServer) -> None:
    """MATRIX_ALIGN_API_KEY goes before OPENAI_API_KEY; without either none is sent."""
    keys = {"OPENAI_API_KEY": "key-of-openai"}
    assert simulate(ASKED, **keys, MATRIX_ALIGN_API_KEY="key-of-ours").returncode == 0
    assert simulate(ASKED, "--seed", "1", **keys).returncode == 0
    assert simulate(ASKED, "--seed", "2").returncode == 0
    sent = dict.fromkeys(headers.get("Authorization") for headers in server.headers)
    assert list(sent) == ["Bearer key-of-ours", "Bearer key-of-openai", None]


def test_key_is_never_printed_nor_stored(simulate: Simulate, server: FakeServer, tmp_path: Path) -> None:
    """Not even where the server says it back, in its refusal or in the reason of its status."""
    key = "key-0123456789"
    said = simulate(ASKED, MATRIX_ALIGN_API_KEY=key).stdout
    server.faults = [lambda request: error(403, f"{key} may not do this")]
    said += simulate(ASKED, "--seed", "1", MATRIX_ALIGN_API_KEY=key).stderr
    assert "may not do this" in said
    server.faults = [lambda request: empty_refusal(f"No {key} here")]
    said += simulate(ASKED, "--seed", "2", MATRIX_ALIGN_API_KEY=key).stderr
    assert "answered 418" in said
    assert key not in said
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("scenes.db*"))
    assert b"may not do this" in kept
    assert key.encode() not in kept


def empty_refusal(reason: str) -> Any:
    answer = error(418, "")
    answer.body = b""
    answer.set_status(418, reason)
    return answer


# Ended, and going on. ------------------------------------------------------------------------------------------------


@pytest.fixture
def listens() -> Iterator[None]:
    """Processes started here take Ctrl-C, even where the tests run in the background and so ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
@pytest.mark.parametrize("request_number", [1, 2, 3, 5, 7, 10, 14, 20])
def test_goes_on_where_it_was_ended(
    end: signal.Signals, request_number: int, simulate: Simulate, server: FakeServer, tmp_path: Path, listens: None
) -> None:
    """Whenever it is killed or stopped, the same command repeats no completed call and finishes the scene."""
    args = ("simulate", ASKED, *SMALL, "--endpoint", server.url, "--json")
    server.latency = 0.05
    processes: list[subprocess.Popen[str]] = []
    server.faults = [lambda request: None] * (request_number - 1)
    server.faults.append(lambda request: processes[0].send_signal(end))
    processes.append(process := started(tmp_path, *args))
    out, err = process.communicate(timeout=60)
    assert out == ""
    if end == signal.SIGINT:
        assert process.returncode == 130
        assert err == "matrix-align: stopped; what is done is kept, and the same command goes on from there\n"
    else:
        assert process.returncode == -signal.SIGKILL
    done = committed(tmp_path / "scenes.db")
    asked = seeds(server)
    assert done <= set(asked)
    assert len(asked) - len(done) <= 3  # of those asked at once
    server.requests.clear()

    answer = answer_of(simulate(ASKED, "--json"))
    assert done.isdisjoint(seeds(server))
    assert sum(call.recorded for call in answer.calls) == len(done)
    assert len(answer.calls) == len(done) + len(server.requests)
    assert answer.text
    with Store(tmp_path / "scenes.db") as store:
        assert [row.state for row in store.answers()] == ["plan done"]


# Bad input. -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([""], "QUESTION"),
        ([" \n "], "empty"),
        (["\u00a0"], "empty"),
        (["word " * 15_000], "at most 64,000"),
        ([ASKED, "--roles", "0"], "--roles"),
        ([ASKED, "--roles", "1000"], "--roles"),
        ([ASKED, "--steps", "0"], "--steps"),
        ([ASKED, "--steps", "1000"], "--steps"),
        ([ASKED, "--steps", "two"], "--steps"),
        ([ASKED, "--seed", "-1"], "--seed"),
        ([ASKED, "--seed", "9" * 30], "--seed"),
        ([ASKED, "--temperature", "nan"], "--temperature"),
        ([ASKED, "--answer-tokens", "0"], "--answer-tokens"),
        ([ASKED, "--colour", "red"], "--colour"),
        ([ASKED, "another argument"], "another argument"),
    ],
)
def test_bad_question_or_option(args: list[str], words: str, cli: Run, server: FakeServer) -> None:
    assert words in complaint(cli("simulate", "--endpoint", server.url, *args))
    assert server.requests == []


@pytest.mark.parametrize("of", ["standard input", "--chat"])
def test_question_of_a_megabyte(of: str, server: FakeServer, tmp_path: Path) -> None:
    chat, text = tmp_path / "chat.json", "word " * 200_000
    chat.write_text(json.dumps([{"role": "user", "content": text}]))
    process = started(
        tmp_path, "simulate", *(["-"] if of != "--chat" else ["--chat", str(chat)]), "--endpoint", server.url
    )
    out, err = process.communicate(text if of != "--chat" else None, timeout=60)
    assert "at most 64,000" in complaint(subprocess.CompletedProcess([], process.returncode, out, err))


@pytest.mark.parametrize(
    "url",
    [
        "localhost",
        "ftp://localhost",
        "http://",
        "http://[",
        "http://a:b",
        "http://a b/",
        "http://me:key@localhost",
        "http://" + "a" * 70 + ".org",
    ],
)
def test_bad_address(url: str, cli: Run) -> None:
    complaint(cli("simulate", ASKED, "--endpoint", url, "--model", "any"))


def test_nobody_listens(cli: Run, tmp_path: Path) -> None:
    """The one line names the address; where no call was answered no scene was played, and none is listed."""
    assert "http://127.0.0.1:9/v1" in complaint(
        cli("simulate", ASKED, "--endpoint", "http://127.0.0.1:9", "--model", "any")
    )
    with Store(tmp_path / "scenes.db") as store:
        assert store.answers() == []
    complaint(cli("simulate", ASKED, "--endpoint", "http://127.0.0.1:9"))


def test_wrong_key_and_unknown_model(simulate: Simulate, server: FakeServer) -> None:
    """The server's own words, and what to do."""
    server.key = "right"
    said = complaint(simulate(ASKED, MATRIX_ALIGN_API_KEY="wrong"))
    assert "401" in said
    assert "MATRIX_ALIGN_API_KEY" in said
    server.key = None
    server.faults = [lambda request: error(404, "no model named other")]
    said = complaint(simulate(ASKED, "--model", "other"))
    assert "no model named other" in said


def test_model_that_fails(simulate: Simulate, cli: Run, server: FakeServer) -> None:
    """Bad replies are the model's doing, not the person's: exit code 1. The scene so far is kept."""
    server.on["Plan"] = lambda body: "I would rather not."
    assert "no usable reply" in complaint(simulate(ASKED, "--json"), code=1)
    said = simulate(ASKED)
    assert "no usable reply" in said.stderr
    assert "setting thing" in said.stdout
    (row,) = json.loads(cli("scenes", "--json").stdout)
    assert row["state"] == "failed"
    shown = cli("scenes", "show", row["id"]).stdout
    assert "setting thing" in shown
    assert "no usable reply" in shown


@pytest.mark.parametrize(
    "content", [None, b"", b"not a model" * 9, bytes(range(256)) * 99, b"GGUF", b"GGUF\x03\0\0\0" + b"\7" * 99]
)
def test_gguf_that_is_none(content: bytes | None, cli: Run, tmp_path: Path) -> None:
    """Missing, empty, of random bytes, or cut off after its first ones."""
    file = tmp_path / "model.gguf"
    if content is not None:
        file.write_bytes(content)
    assert str(file) in complaint(cli("simulate", ASKED, "--model", str(file)))


def test_gguf_that_is_a_folder(cli: Run, tmp_path: Path) -> None:
    folder = tmp_path / "folder.gguf"
    folder.mkdir()
    assert str(folder) in complaint(cli("simulate", ASKED, "--model", str(folder)))


def test_model_name_without_endpoint(cli: Run) -> None:
    assert "--endpoint" in complaint(cli("simulate", ASKED, "--model", "gpt-4"))


def test_store_that_cant_be_used(simulate: Simulate, server: FakeServer, tmp_path: Path) -> None:
    """Below a regular file, a folder, no database, of a newer version: nothing is asked, the file stays as it is."""
    text, folder, newer = tmp_path / "notes.txt", tmp_path / "folder", tmp_path / "newer.db"
    text.write_text("Buy bread, milk and a new bicycle pump.\n" * 100)
    folder.mkdir()
    Store(newer).__exit__()
    with closing(sqlite3.connect(newer, isolation_level=None)) as record:
        record.execute("INSERT INTO migrations VALUES ('9999_later', 'then')")
    before = newer.read_bytes()
    for path in (text / "scenes.db", folder, text, newer):
        assert str(path) in complaint(simulate(ASKED, "--store", str(path)))
    assert "newer matrix-align" in complaint(simulate(ASKED, "--store", str(newer)))
    assert newer.read_bytes() == before
    assert text.read_text() == "Buy bread, milk and a new bicycle pump.\n" * 100
    assert server.requests == []


@pytest.mark.parametrize(
    "content",
    [
        *[None, "", "not JSON", "{}", "[]", "5", "null", '"text"', '["text"]', '[{"role": "user"}]', "[" * 100_000],
        *[
            '[{"role": "wizard", "content": "x"}]',
            '[{"role": "user", "content": 5}]',
            '[{"role": "user", "content": ""}]',
        ],
        *['[{"role": "system", "content": "x"}]', '[{"role": "assistant", "content": "x"}]'],
    ],
)
def test_bad_chat_file(content: str | None, cli: Run, server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    if content is not None:
        file.write_text(content)
    complaint(cli("simulate", "--chat", str(file), "--endpoint", server.url))
    assert server.requests == []


def test_chat_file_that_is_no_text(cli: Run, server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_bytes(b"\xff\xfe[]\x80")
    complaint(cli("simulate", "--chat", str(file), "--endpoint", server.url))
    complaint(cli("simulate", "--chat", str(tmp_path), "--endpoint", server.url))
    complaint(cli("simulate", ASKED, "--chat", str(file), "--endpoint", server.url))


def test_unknown_command_and_scene(cli: Run, tmp_path: Path) -> None:
    Store(tmp_path / "scenes.db").__exit__()
    assert "juggle" in complaint(cli("juggle"))
    assert "'0123'" in complaint(cli("scenes", "show", "0123"))
    complaint(cli("scenes", "show", ""))
    assert "id" in complaint(cli("scenes", "show")).lower()
    assert "--limit" in complaint(cli("scenes", "--limit", "0"))


# Output that can't be written, and help. --------------------------------------------------------------------------


def test_reader_that_has_gone(server: FakeServer, tmp_path: Path) -> None:
    """As under `| head`: no traceback, and the scene is kept."""
    process = started(tmp_path, "simulate", ASKED, *SMALL, "--endpoint", server.url)
    assert process.stdout
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    with Store(tmp_path / "scenes.db") as store:
        assert len(store.answers()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is told by /dev/full")
def test_output_that_cant_be_written(tmp_path: Path) -> None:
    env = {**os.environ, "MATRIX_ALIGN_STORE": str(tmp_path / "scenes.db")}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "matrix_align", "scenes"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=env)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("matrix-align: ")


def test_no_command_is_help(cli: Run) -> None:
    done = cli()
    assert "matrix-align: " not in done.stderr
    assert len((done.stdout + done.stderr).split("Usage:")[1].splitlines()) > 5


def loaded_by(code: str) -> tuple[str, set[str]]:
    """What some Python code prints, and which of the heavy modules are loaded after it."""
    heavy = {"aiohttp", "pydantic", "rich", "gguf", "xllamacpp", "numpy", "sqlite3"}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*({heavy} & set(sys.modules)))"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    *lines, modules = done.stdout.splitlines()
    return "\n".join(lines), set(modules.split())


def test_help_loads_nothing_heavy() -> None:
    """Only for the help of one command, pydantic: typer itself uses it to read options."""
    assert loaded_by("import matrix_align.cli")[1] == set()
    for args in ("--help", "scenes --help", "simulate --help", "scenes show --help"):
        help, modules = loaded_by(f"from matrix_align.cli import main, sys; sys.argv[1:] = {args.split()}; main()")
        assert "Usage:" in help
        assert modules <= (set() if args == "--help" else {"pydantic"})
