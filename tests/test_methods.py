"""Methods: what all of them share, and that the prompts of one don't affect the answers of another."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from matrix_align import METHODS, Caller, Endpoint, Message, Question, Sampling, Scripted
from matrix_align.llm.caller import Request
from matrix_align.llm.prompts import Prompts
from matrix_align.methods import Method, Setup, last
from matrix_align.methods.vanilla import NoSettings
from matrix_align.types import Draft

from .conftest import Run
from .fake import FakeServer, error
from .records import rows

SMALL = ("--roles", "1", "--steps", "1")


async def polite(question: Question, caller: Caller, settings: NoSettings) -> AsyncIterator[Draft]:
    """A method of two calls, such as a user might add."""
    first = await caller.ask(Request("initial", str, lambda _: question.messages()))
    yield Draft(initial=first)
    task = [*question.messages(), Message(role="assistant", content=first), Message(role="user", content="Politely?")]
    yield Draft(initial=first, text=await caller.ask(Request("revision", str, lambda _: task)))


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with the prompts of a new method."""
    folder = tmp_path / "politeness"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "ask.md").write_text("$rules\n<question>\n$question\n</question>\nPolitely?")
    (folder / "rules.md").write_text("Be polite.")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    sys.modules.pop("politeness", None)


def test_a_new_method_leaves_old_runs_resumable(
    cli: Run, server: FakeServer, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its prompts don't decide another method's answers. A change to its own prompts is noticed."""
    questions = tmp_path / "questions.txt"
    questions.write_text("One?\nTwo?\n")
    old = ("generate", str(questions), "--out", str(tmp_path / "old"), "--endpoint", server.url, *SMALL)
    assert cli(*old, "--limit", "1").returncode == 0

    monkeypatch.setitem(METHODS, "polite", Method("polite", polite, NoSettings, (Prompts("politeness"),)))
    new = ("generate", str(questions), "--out", str(tmp_path / "new"), "--endpoint", server.url, "--method", "polite")
    assert cli(*new, "--limit", "1").returncode == 0
    asked = len(server.requests)
    done = cli(*old, "--json")
    assert json.loads(done.stdout)["inputs"] == {"done": 2}, done.stderr
    assert len(server.requests) > asked
    assert rows(tmp_path / "new" / "record.db", "SELECT method, state, calls FROM answers") == [("polite", "done", 2)]

    (words / "ask.md").write_text("Other words.")
    monkeypatch.setitem(METHODS, "polite", Method("polite", polite, NoSettings, (Prompts("politeness"),)))
    assert "method.prompts was" in cli(*new).stderr


def test_a_run_is_of_one_method(cli: Run, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    out = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url)
    assert cli(*out, "--method", "vanilla").returncode == 0
    assert len(server.requests) == 12, "one call a question"
    assert cli(*out).returncode == 0, "the run knows its method"
    assert 'method.name was "vanilla", is "matrix"' in cli(*out, "--method", "matrix").stderr
    assert "--method vanilla has no setting --roles" in cli(*out, "--roles", "3").stderr
    assert f"--method is one of {', '.join(METHODS)} (got scene)" in cli(*out, "--method", "scene").stderr
    exported = cli("export", str(tmp_path / "run"), "--out", str(tmp_path / "data/sft.jsonl"), "--json")
    assert json.loads(exported.stdout)["train"]["rows"] == 12
    for format in ("dpo", "scenes"):
        command = ("export", str(tmp_path / "run"), "--out", str(tmp_path / f"{format}/a.jsonl"), "--format", format)
        assert "holds nothing to export" in cli(*command).stderr


def test_a_failed_answer_keeps_what_it_had(cli: Run, server: FakeServer, tmp_path: Path) -> None:
    """For every method, the calls are kept beside the error."""
    source = tmp_path / "questions.txt"
    source.write_text("One?\n")
    server.on["text"] = lambda body: error(400, "not today")
    out = ("generate", str(source), "--out", str(tmp_path / "run"), "--endpoint", server.url, "--method", "vanilla")
    assert cli(*out).returncode == 1
    [(answer,)] = rows(tmp_path / "run" / "record.db", "SELECT answer FROM answers")
    assert "not today" in json.loads(answer)["error"] and json.loads(answer)["text"] is None


@pytest.mark.parametrize("name", METHODS)
def test_no_setting_has_the_name_of_another(name: str) -> None:
    """`Setup.flat` puts both into one table, and an option of the command line has only one meaning."""
    assert not METHODS[name].settings.model_fields.keys() & Sampling.model_fields.keys()


async def test_what_decides_an_answer_decides_its_id() -> None:
    async def id_of(name: str = "vanilla", question: str = "How?", seed: int = 0, **model: str) -> str:
        method, asked = METHODS[name], Question(text=question)
        setup = Setup(method, method.settings(), Sampling(seed=seed))
        answer, _ = await last(setup.answer(asked, Scripted("So.", **model)))
        return answer.id

    ids = [
        await id_of(),
        await id_of("matrix"),
        await id_of(question="Why?"),
        await id_of(seed=1),
        await id_of(name="vanilla", digest="other weights"),
    ]
    assert len(set(ids)) == len(ids)
    assert await id_of() == ids[0]


async def test_vanilla_is_what_the_model_says(server: FakeServer, model: Endpoint) -> None:
    question = Question(text="How?", system="Be brief.", history=(Message(role="user", content="Hello"),))
    answer, error = await last(Setup(METHODS["vanilla"], NoSettings()).answer(question, model))
    assert (answer.text, answer.initial, answer.state, error) == ("It depends. Ask first.", None, "done", None)
    assert [message["content"] for message in server.requests[0]["messages"]] == ["Be brief.", "Hello", "How?"]
