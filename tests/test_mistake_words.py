"""The words for a mistake on the command line: what was got, what was wanted, what to do; and nothing is asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from aiohttp import web

from matrix_align import Store

from .conftest import Run, complaint
from .fake import FakeServer
from .records import answer

PLAYING = ("simulate q", "generate q.csv --out run", "measure --benign q.csv --out new", "iterate q.csv --out loop")
MISTAKES = [
    ("simulate Should I sell?", "simulate takes no further argument (got 'I sell?'); put the whole question in quotes"),
    ("simulate q --roles 0", "--roles is a whole number from 1 to 20 (got 0)"),
    ("simulate q --steps 21", "--steps is a whole number from 1 to 20 (got 21)"),
    ("simulate q --roles many", "--roles is a whole number (got many)"),
    ("simulate q --temperature -1", "--temperature is a number from 0 to 2 (got -1.0)"),
    ("simulate q --temperature nan", "--temperature is a number from 0 to 2 (got nan)"),
    ("simulate q --answer-tokens 0", "--answer-tokens is a whole number from 1 to 10,000,000 (got 0)"),
    ("simulate q --rols 3", "simulate has no option --rols; did you mean --roles?"),
    ("simulate q --seed", "--seed needs a value after it"),
    ("simulate q --adapter nowhere", "--adapter nowhere: there is no such folder"),
    ("simulate q --adapter q.csv", "--adapter q.csv: that is a file; wanted a folder"),
    ("simulate q --store folder", "folder is a folder; wanted a file: use another, such as folder/record.db"),
    ("simulate q --endpoint http://a/v1,http://b/v1", "more than one address; give --endpoint once for each"),
    ("generate", "--out is missing; give the folder of the run"),
    ("generate q.csv --out q.csv", "--out q.csv: that is a file; wanted a folder"),
    ("generate . --out run", ". is a folder; give the files in it"),
    ("generate q.csv --out run --method vanilla --detail full", "--method vanilla has no setting --detail; leave it"),
    ("generate q.csv --out run --engine spark", "--engine is local or ray (got spark)"),
    ("generate q.csv --out run --limit 0", "--limit is a whole number of at least 1 (got 0)"),
    ("generate q.csv --out run --max-cost -1", "--max-cost is a number of at least 0 (got -1)"),
    ("export folder", "--out is missing; give the file to write"),
    ("export", "RUN is missing; give the folder of a run"),
    ("export folder --out a.jsonl --test 1", "--test is a number from 0 to 0.9 (got 1)"),
    (
        "export folder --out a.jsonl --format alpaca",
        "--format is sft, dpo, sharegpt, scenes, inspect or ratings (got alpaca)",
    ),
    ("tune nowhere --out adapter", "DATA nowhere: there is no such file or folder"),
    ("tune folder --out adapter", "DATA folder: that is a folder; wanted a file"),
    ("measure --out q.csv", "--out q.csv: that is a file; wanted a folder"),
    ("iterate q.csv --out loop --rounds 0", "--rounds is a whole number of at least 1 (got 0)"),
    ("iterate q.csv --out q.csv", "--out q.csv: that is a file; wanted a folder"),
    *((f"{command} --detail long", "--detail is brief or full (got long)") for command in PLAYING),
    ("models smollm2-135m another", "models takes no further argument (got 'another'); --help says what it takes"),
    ("scenes --limit 0", "--limit is a whole number of at least 1 (got 0)"),
    ("scenes 9b61", "to print a scene: matrix-align scenes show 9b61"),
    ("scenes show", "ID is missing; give the id of the scene"),
    ("scenes --store folder", "folder is a folder; wanted a file: use another, such as folder/record.db"),
    ("juggle", "there is no command 'juggle'; wanted one of simulate, generate"),
]


@pytest.mark.parametrize(("typed", "words"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_mistake(typed: str, words: str, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("q.csv").write_text("question\nWhy is the sky blue?\n")
    Path("folder").mkdir()
    assert words in complaint(cli(*typed.split()))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("simulate", "--chat", "{}"), "--chat {}: it can't be read; change its permissions"),
        (("tune", "{}", "--out", "adapter"), "DATA {}: it can't be read; change its permissions"),
    ],
)
def test_file_without_permission(
    args: tuple[str, ...], words: str, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rows.jsonl"
    file.touch()
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may read every file
    assert words.format(file) in complaint(cli(*(arg.format(file) for arg in args)))


def test_beginning_of_no_id_and_of_several(cli: Run, tmp_path: Path) -> None:
    with Store(tmp_path / "scenes.db") as store:
        for id in ("ab" * 8, "ac" * 8):
            store.save(answer(id))
    assert "no scene's id begins with 'zz'" in complaint(cli("scenes", "show", "zz"))
    several = complaint(cli("scenes", "show", "a"))
    assert f"several scenes' ids begin with 'a': {'ab' * 8}, {'ac' * 8}" in several


def test_export_that_cant_be_written(cli: Run, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """The message names the file that was asked for, not the one that it is written to first."""
    run, out = str(tmp_path / "run"), tmp_path / ("a" * 246 + ".jsonl")  # with '.part', too long a name
    made = cli(*f"generate {questions} --limit 1 --method vanilla --out {run} --endpoint {server.url}".split())
    assert made.returncode == 0
    assert ".part" not in complaint(cli("export", run, "--out", str(out)))


def test_max_length_without_the_libraries(
    cli: Run, server: FakeServer, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message speaks of counting tokens, which was asked for, and not of tuning."""
    run, base = tmp_path / "run", tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "model.safetensors"):
        (base / name).write_text("{}")
    made = cli(*f"generate {questions} --limit 1 --method vanilla --out {run} --endpoint {server.url}".split())
    assert made.returncode == 0
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    done = cli(*f"export {run} --out {tmp_path / 'sft.jsonl'} --max-length 5 --base {base}".split())
    assert "a model's tokens and weights need torch and transformers: pip install" in complaint(done)


def test_one_is_no_plural_and_a_failed_call_counts(
    cli: Run, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls are those whose tokens are counted; a row is named as from where the person is."""
    monkeypatch.chdir(tmp_path)
    Path("q.csv").write_text("question,more\nWhy?,1\nHow?\n")
    server.on["text"] = lambda body: ""
    told = cli(*f"generate q.csv --method vanilla --out run --endpoint {server.url}".split())
    assert "This time: 1 call · tokens: " in told.stderr
    assert "\nq.csv:3: bad row: 1 cell, where the first line names 2" in told.stderr


def test_setting_of_a_run_that_was_edited(cli: Run, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = f"generate {questions} --limit 1 --roles 3 --steps 1 --out {run} --endpoint {server.url}".split()
    assert cli(*command).returncode == 0
    note = run / "run.toml"
    note.write_text(note.read_text().replace("roles = 3", "roles = 99"))
    assert f"{note}: roles should be at most 20 (got 99); give it back its value" in complaint(cli(*command))


def test_https_to_a_server_of_http(cli: Run, server: FakeServer) -> None:
    address = server.url.replace("http://", "https://")
    assert "does not speak https; try http://" in complaint(cli("simulate", "Why?", "--endpoint", address))


def test_web_page_instead_of_an_api(cli: Run, server: FakeServer, waits: object) -> None:
    server.faults = [lambda request: web.Response(text="<html>Welcome</html>", content_type="text/html")] * 9
    done = cli("simulate", "Why?", "--endpoint", server.url, "--model", "any", "--digest", "mine", "--json")
    assert "wanted the API, not a web page; its address often ends in /v1" in complaint(done)
