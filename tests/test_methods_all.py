"""Every method under `generate`: it keeps the conversation, uses its prompts, resumes, exports, fails and runs."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import pytest

from matrix_align import METHODS, BadReply, Endpoint, Sampling
from matrix_align.llm.local import Served, serve
from matrix_align.llm.prompts import TAG, Filled, Prompts
from matrix_align.methods import Setup, last
from matrix_align.simulation.conversation import _head

from .asked import HISTORY, SYSTEM, TALK
from .conftest import Run
from .embedded import MODEL
from .fake import FakeServer, completion, error, kind
from .records import rows

SMALL: dict[str, Any] = {"roles": 2, "steps": 1, "detail": "brief", "rounds": 2, "candidates": 2}
# Whatever the fake endpoint says, these make a pair.
PAIRS = ("matrix", "foresee", "self_refine", "critique_revise", "debate", "role_answer", "rlcd", "mistake_analysis")

each_method = pytest.mark.parametrize("name", METHODS)


def setup(name: str, **other: int) -> Setup:
    """The method in its smallest form in which it makes every kind of call; `other` settings go before these."""
    kind = METHODS[name].settings
    given = {field: value for field, value in (SMALL | other).items() if field in kind.model_fields}
    return Setup(METHODS[name], kind(**given), Sampling())


def options(name: str) -> list[str]:
    """The same on the command line."""
    fields = METHODS[name].settings.model_fields
    return [word for field, value in SMALL.items() if field in fields for word in (f"--{field}", str(value))]


@each_method
async def test_answers_in_the_conversation(name: str, server: FakeServer, model: Endpoint) -> None:
    """Every call that may write the answer has the conversation's system prompt and its earlier turns."""
    answer, failure = await last(setup(name).answer(TALK, model))
    assert failure is None and answer.text and answer.calls
    written = [body["messages"] for body in server.requests if kind(body) == "text"]
    assert written
    for first, *others in written:
        assert first["role"] == "system" and SYSTEM in first["content"]
        assert [turn.content for turn in HISTORY] == [m["content"] for m in others if m["content"] in str(HISTORY)]


@each_method
async def test_tags_around_an_answer_are_no_part_of_it(name: str, server: FakeServer, model: Endpoint) -> None:
    """Small models write a prompt's tags around their answer."""
    serial = iter(range(10_000))

    def tagged(body: dict[str, Any]) -> str:
        tags = sorted({tag for message in body["messages"] for tag in TAG.findall(message["content"])})
        opening, closing = ("".join(f"<{mark}{tag}>\n" for tag in tags) for mark in ("", "/"))
        return f"{opening}It depends on {next(serial)}.\n{closing}"

    server.on["text"] = tagged
    answer, failure = await last(setup(name).answer(TALK, model))
    assert failure is None and answer.text and not TAG.search(answer.text)


@each_method
async def test_uses_every_prompt(
    name: str, server: FakeServer, model: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt that nothing fills in is dead. No placeholder is sent, and no prompt of a method that is not named."""
    used: set[tuple[int, str]] = set()
    render = Prompts.render

    def rendering(prompts: Prompts, kind: str, /, **data: object) -> Filled:
        used.add((id(prompts), kind))
        return render(prompts, kind, **data)

    serial = iter(range(10_000))

    def cut_at_first(body: dict[str, Any]) -> Any:
        number = next(serial)
        return completion(f"It depends on {number}. And", "length" if number < SMALL["candidates"] else "stop")

    server.on["text"] = cut_at_first
    monkeypatch.setattr(Prompts, "render", rendering)
    _head.cache_clear()  # what other tests have rendered
    await last(setup(name).answer(TALK, model))
    ours = METHODS[name].prompts
    assert {prompts for prompts, _ in used} <= {id(prompts) for prompts in ours}, "the digest covers all that is used"
    for prompts in ours[:1] if name != "matrix" else ():  # tests/test_layout.py looks at the scene's
        assert {kind for of, kind in used if of == id(prompts)} == prompts.templates.keys()
    asked = [message["content"] for body in server.requests for message in body["messages"]]
    assert {word for text in asked for word in Template(text).get_identifiers()} == set()


@each_method
def test_generates_resumes_and_exports(name: str, cli: Run, server: FakeServer, tmp_path: Path) -> None:
    """A call that was paid for is not made again. A method that starts from the initial response makes pairs."""
    source, out = tmp_path / "questions.txt", tmp_path / "run"
    source.write_text("One?\nTwo?\n")
    serial = iter(range(10_000))
    server.on["text"] = lambda _: f"It depends on {next(serial)}."
    command = ("generate", str(source), "--out", str(out), "--endpoint", server.url, "--method", name, *options(name))
    assert cli(*command, "--limit", "1").returncode == 0
    calls = len(server.requests)
    server.faults = [lambda _: None] * (calls - 1) + [lambda _: error(400, "not today")]
    assert json.loads(cli(*command, "--json").stdout)["inputs"] == {"done": 1, "failed: Refused": 1}
    server.faults, before = [], len(server.requests)
    done = cli(*command, "--json", "--retry-failed")
    assert json.loads(done.stdout)["inputs"] == {"done": 2}, done.stderr
    assert len(server.requests) == before + 1, "all calls but the last were in the record"
    answers = [json.loads(text) for (text,) in rows(out / "record.db", "SELECT answer FROM answers")]
    assert [bool(answer["text"]) and answer["error"] is None for answer in answers] == [True, True]
    for format, count in (("sft", 2), ("dpo", 2 if name in PAIRS else 0)):
        to = tmp_path / format / "data.jsonl"
        exported = cli("export", str(out), "--out", str(to), "--format", format, "--json")
        if not count:
            assert re.search("makes no pairs|nothing to reject", exported.stderr)
            continue
        assert json.loads(exported.stdout)["train"]["rows"] == count
        for row in map(json.loads, to.read_text().splitlines()):
            assert row["chosen"] != row["rejected"] if format == "dpo" else row["messages"][-1]["content"]


@each_method
def test_is_described(name: str) -> None:
    """In its docstring and on the page of the methods, with its source."""
    module = inspect.getmodule(METHODS[name].drafts)
    assert module and module.__doc__ and ("arXiv" in module.__doc__ or name == "vanilla")
    page = (Path(__file__).parent.parent / "docs/methods.md").read_text(encoding="utf-8")
    assert len(re.findall(rf"^\| `{name}` \|", page, re.M)) == 1


@each_method
async def test_short_answers_cut_no_decision(name: str, server: FakeServer, model: Endpoint) -> None:
    """--answer-tokens limits texts. A typed reply that it cut would be no reply."""
    await last(replace(setup(name), sampling=Sampling(max_tokens=9)).answer(TALK, model))
    limits = {(kind(body) == "text", body["max_tokens"]) for body in server.requests}
    assert (True, 9) in limits and all(text or tokens > 500 for text, tokens in limits)


@each_method
async def test_a_failed_call_is_raised(name: str, server: FakeServer, model: Endpoint) -> None:
    """Whichever it is: the answer has its error and is not done."""
    await last(setup(name).answer(TALK, model))
    for number in range(len(server.requests)):
        server.faults = [lambda _: None] * number + [lambda _: error(400, "not today")] * 100
        answer, failure = await last(setup(name).answer(TALK, model))
        assert failure and "not today" in str(failure)
        assert (answer.state, len(answer.calls) <= number) == ("failed", True)


@pytest.fixture(scope="module")
def small() -> Iterator[Served]:
    """The smallest real model, served once for all methods."""
    with serve(MODEL) as served:
        yield served


@pytest.mark.embedded
@pytest.mark.parametrize("name", [name for name in METHODS if name != "matrix"])  # tests/test_embedded.py plays scenes
async def test_runs_on_a_real_model(name: str, small: Served) -> None:
    """One question. Whatever the model writes, an answer comes out; of three seeds, one may do."""
    brief = replace(setup(name, rounds=1), sampling=Sampling(temperature=0.3, max_tokens=16))
    async with Endpoint(small.url, small.name, key=small.key, digest=small.digest) as endpoint:
        for seed in range(3):
            drawn = brief.sampling.model_copy(update={"seed": seed})
            answer, failure = await last(replace(brief, sampling=drawn).answer(TALK, endpoint))
            if not failure:
                break
            assert isinstance(failure, BadReply) and answer.error
    assert answer.text and not answer.error and answer.usage.completion_tokens
