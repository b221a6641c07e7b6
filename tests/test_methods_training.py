"""The methods that make training data: what each call sees, and the rows and pairs that are exported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from matrix_align import Refused

from .asked import HISTORY, SYSTEM, TALK, ask
from .conftest import Run
from .fake import FakeServer

DOG = {"happens": "It works.", "hurt": "", "harm": "none", "gets": "all"}
CAT = DOG | {"gets": "part"}
FOX = DOG | {"hurt": "the neighbour", "harm": "slight"}
WOLF = DOG | {"hurt": "the neighbour", "harm": "serious"}


async def test_context_distillation_has_the_principles_only_in_its_call() -> None:
    got = await ask("context_distillation", "Dig.", principles=("Be brief.", "Be kind."))
    system = got.chats[0][0].content
    assert "- Be brief.\n- Be kind.\n" in system and system.endswith(SYSTEM) and got.turns(0) == [TALK.text]
    assert (got.answer.text, got.answer.initial, got.kinds) == ("Dig.", None, ["answer"])
    ours = await ask("context_distillation", "Dig.")
    assert "Be honest" in ours.chats[0][0].content, "without principles, ours"


async def test_rlcd_asks_once_well_and_once_badly() -> None:
    got = await ask("rlcd", "Good.", "Bad.")
    assert [(call.kind, call.who, call.depth) for call in got.answer.calls] == [
        ("answer", "positive", 1),
        ("answer", "negative", 1),
    ]
    positive, negative = (got.chats[number][0].content for number in (0, 1))
    assert "a considerate" in positive and "an inconsiderate" in negative
    assert got.turns(0) == got.turns(1) == [TALK.text]
    assert (got.answer.text, got.answer.initial) == ("Good.", "Bad.")


async def test_mistake_analysis_errs_analyses_and_answers() -> None:
    got = await ask("mistake_analysis", "Dig anywhere.", "It breaks the fence.", "Dig by the gate.")
    assert got.kinds == ["answer", "analysis", "revision"]
    assert "careless" in got.chats[0][0].content and got.turns(0) == [TALK.text]
    system, hint, taken, *history, question, mistake, task = got.chats[1]
    assert "judged to be bad" in hint.content and taken.role == "assistant" and tuple(history) == HISTORY
    assert (question.content, mistake.content, mistake.role) == (TALK.text, "Dig anywhere.", "assistant")
    assert system.content.endswith(SYSTEM) and "bad" not in task.content, "only the hint tells"
    [last] = got.turns(2)
    assert all(text in last for text in (TALK.text, "Dig anywhere.", "It breaks the fence."))
    assert (got.answer.initial, got.answer.text) == ("Dig anywhere.", "Dig by the gate.")


@pytest.mark.parametrize(
    ("outcomes", "best", "worst", "ending"),
    [
        ((CAT, WOLF, DOG), "C", "B", "ranked"),
        ((WOLF, FOX, CAT), "C", "A", "ranked"),  # less harm goes before more help
        ((CAT, DOG, DOG), "B", "A", "ranked"),  # of equals the one drawn first
        ((DOG, FOX, FOX), "A", "B", "ranked"),
        ((FOX, FOX, FOX), "A", "A", "outcomes alike"),
    ],
)
async def test_outcome_preference_ranks_by_what_comes_of_an_answer(
    outcomes: tuple[Any, ...], best: str, worst: str, ending: str
) -> None:
    got = await ask("outcome_preference", "A", "B", "C", *outcomes, candidates=3)
    assert got.kinds == ["initial"] * 3 + ["outcome"] * 3
    assert [call.depth for call in got.answer.calls] == [1, 1, 1, 2, 2, 2]
    assert all(got.turns(number) == [TALK.text] for number in range(3))
    for number, answer in zip(range(3, 6), "ABC", strict=True):
        assert f"<answer>\n{answer}\n</answer>" in got.task(number) and SYSTEM in got.task(number)
    assert (got.answer.text, got.answer.initial, got.answer.ending) == (best, worst, ending)


async def test_outcome_preference_plays_equal_answers_once() -> None:
    got = await ask("outcome_preference", "A", "A", "B", DOG, CAT, candidates=3)
    assert (got.answer.text, got.answer.initial) == ("A", "B")


@pytest.mark.parametrize(
    ("name", "replies", "initial", "calls"),
    [
        ("context_distillation", (Refused("no"),), None, 0),
        ("rlcd", ("Good.", Refused("no")), None, 1),
        ("mistake_analysis", ("Bad.", Refused("no")), "Bad.", 1),
        ("mistake_analysis", ("Bad.", "So.", Refused("no")), "Bad.", 2),
        ("outcome_preference", ("A", "B", "C", "D", DOG, Refused("no"), CAT, CAT), None, 7),
    ],
)
async def test_a_failed_call_raises_and_keeps_what_there_was(
    name: str, replies: tuple[Any, ...], initial: str | None, calls: int
) -> None:
    got = await ask(name, *replies)
    assert isinstance(got.error, Refused) and got.answer.error == "Refused: no"
    assert (got.answer.text, got.answer.initial, len(got.answer.calls)) == (None, initial, calls)


ASKED = {"question": TALK.text, "system": SYSTEM, "category": "helpful"}
NO_PAIRS = "the method makes no pairs"
# By method: whether it makes pairs, and the kinds of calls that make rows.
EXPORTS: dict[str, tuple[bool, list[str]]] = {
    "best_of_n": (True, []),
    "debate": (True, []),
    "role_answer": (True, ["criticism"] * 6),
    "rain": (False, []),
    "context_distillation": (False, []),
    "rlcd": (True, []),
    "mistake_analysis": (True, ["analysis"]),
    "outcome_preference": (True, ["outcome"] * 4),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_export(name: str, cli: Run, server: FakeServer, tmp_path: Path) -> None:
    """The row is the user's conversation with the answer. No prompt of ours is in it, and no hint in a call's row."""
    pairs, taught = EXPORTS[name]
    server.on["text"] = lambda body: f"Answer {body['seed']}."
    server.on["Preference"] = lambda body: {"reason": "So.", "better": _of_the_smaller_number(str(body))}
    server.on["Outcome"] = lambda body: DOG | {"harm": "none" if body["seed"] % 2 else "slight"}
    (tmp_path / "q.jsonl").write_text(json.dumps(ASKED) + "\n")
    run = str(tmp_path / "run")
    made = cli("generate", str(tmp_path / "q.jsonl"), "--out", run, "--endpoint", server.url, "--method", name)
    assert made.returncode == 0, made.stderr

    def exported(format: str, *more: str) -> list[Any]:
        out = tmp_path / format / "a.jsonl"
        done = cli("export", run, "--out", str(out), "--format", format, *more)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in out.read_text().splitlines()]

    [row] = exported("sft")
    assert [turn["content"] for turn in row["messages"][:2]] == [SYSTEM, TALK.text] and len(row["messages"]) == 3
    text = row["messages"][2]["content"]
    if not pairs:
        assert NO_PAIRS in cli("export", run, "--out", str(tmp_path / "b/b.jsonl"), "--format", "dpo").stderr
    else:
        [pair] = exported("dpo")
        assert pair["chosen"][0]["content"] == text != pair["rejected"][0]["content"]
        assert [turn["content"] for turn in pair["prompt"]] == [SYSTEM, TALK.text]
    mix = cli("export", run, "--out", str(tmp_path / "c/c.jsonl"), "--mix", "simulation=1", "--json")
    if not taught:
        assert "there are none" in mix.stderr
        return
    assert json.loads(mix.stdout)["train"]["simulation"] == len(taught), mix.stderr
    taught_rows = [json.loads(line)["messages"] for line in (tmp_path / "c/c.jsonl").read_text().splitlines()]
    assert all(turns[-1]["role"] == "assistant" for turns in taught_rows)
    if name == "mistake_analysis":
        [(system, question, mistake, task, analysis)] = taught_rows
        assert system["content"].endswith(SYSTEM) and question["content"] == TALK.text, "the hint is not there"
        assert mistake["content"] == exported("dpo")[0]["rejected"][0]["content"]
        assert task["content"].startswith("Before we go on") and analysis["content"].startswith("Answer ")


def _of_the_smaller_number(prompt: str) -> str:
    one, other = (int(number) for number in re.findall(r"Answer (\d+)", prompt))
    return "first" if one < other else "second"
