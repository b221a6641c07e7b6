"""Mistakes on the command line: one line says what was got and what was wanted, and no call is made."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from matrix_align import Store

from .asking import Waits
from .conftest import ASKED, Run, complaint
from .fake import FakeServer, error


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
def test_question_of_a_megabyte(of: str, simulate: Run, tmp_path: Path) -> None:
    chat, text = tmp_path / "chat.json", "word " * 200_000
    chat.write_text(json.dumps([{"role": "user", "content": text}]))
    done = simulate("--chat", str(chat)) if of == "--chat" else simulate("-", stdin=text)
    assert "at most 64,000" in complaint(done)


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


def test_nobody_listens(cli: Run, waits: Waits, tmp_path: Path) -> None:
    """The line names the address. Since no call was answered, no scene was played, and none is listed."""
    assert "http://127.0.0.1:9/v1" in complaint(
        cli("simulate", ASKED, "--endpoint", "http://127.0.0.1:9", "--model", "any")
    )
    with Store(tmp_path / "scenes.db") as store:
        assert store.answers() == []
    complaint(cli("simulate", ASKED, "--endpoint", "http://127.0.0.1:9"))


def test_wrong_key_and_unknown_model(simulate: Run, server: FakeServer) -> None:
    """The line gives the server's own words, and what to do."""
    server.key = "right"
    said = complaint(simulate(ASKED, "--json", MATRIX_ALIGN_API_KEY="wrong"))
    assert "401" in said
    assert "MATRIX_ALIGN_API_KEY" in said
    server.key = None
    server.faults = [lambda request: error(404, "no model named other")]
    said = complaint(simulate(ASKED, "--json", "--model", "other"))
    assert "no model named other" in said


def test_wrong_key_where_the_list_of_models_needs_one(simulate: Run, cli: Run, server: FakeServer) -> None:
    """Nothing is begun with a key that the server refuses for everything. One may be for chats only."""
    server.key, server.listed = "right", lambda: error(401, "no list for you")
    for args in (("simulate", ASKED), ("serve", "--port", "0")):
        said = complaint(cli(*args, "--endpoint", server.url, "--model", "m", MATRIX_ALIGN_API_KEY="stale"))
        assert "401: no list for you. Set MATRIX_ALIGN_API_KEY (or OPENAI_API_KEY)" in said
    done = simulate(ASKED, "--model", "m", MATRIX_ALIGN_API_KEY="right")
    assert done.returncode == 0 and "the server shows this key no list of its models" in done.stderr


def test_model_that_fails(simulate: Run, cli: Run, server: FakeServer) -> None:
    """Bad replies are the model's fault, not the user's, so the exit code is 1. The scene so far is kept."""
    server.on["Opening"] = lambda body: {"steps": "I would rather not."}
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
    """The file is missing, empty, random bytes, or cut off after its first bytes."""
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


def test_store_that_cant_be_used(simulate: Run, server: FakeServer, tmp_path: Path) -> None:
    """The path is below a regular file, a folder, no database, or of a newer version.

    No call is made, and the file does not change.
    """
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
