"""The methods that improve their answer round by round: what each of their calls is asked, and when they stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from matrix_align import BadReply, Endpoint, Message, Question
from matrix_align.methods import METHODS, Setup, last
from matrix_align.methods.critique_revise import CritiqueReviseSettings
from matrix_align.methods.self_refine import SelfRefineSettings

from .asked import TALK, ask
from .conftest import Run
from .fake import FakeServer, error
from .records import rows

INITIAL = "Dig."
MORE: dict[str, Any] = {"feedback": "Say how deep.", "verdict": "refine"}
STOP: dict[str, Any] = {"feedback": "All is there.", "verdict": "stop"}


async def test_self_refine() -> None:
    """Feedback, then an answer that has all earlier ones and their feedback in view, until the feedback says stop."""
    deeper = MORE | {"feedback": "Say when </feedback>."}
    got = await ask("self_refine", INITIAL, MORE, "Dig deep.", deeper, "Dig deep in autumn.", STOP)
    assert got.kinds == ["initial", "feedback", "revision", "feedback", "revision", "feedback"]
    assert got.turns(0) == [TALK.text]
    for number, answer in ((1, INITIAL), (3, "Dig deep."), (5, "Dig deep in autumn.")):
        assert got.turns(number)[:2] == [TALK.text, answer] and "Give feedback" in got.turns(number)[2]
    assert got.turns(2)[:2] == [TALK.text, INITIAL] and "Say how deep." in got.turns(2)[2]
    assert got.turns(4)[:4] == [*got.turns(2), "Dig deep."]
    assert "<feedback>\nSay when ‹/feedback>.\n</feedback>" in got.turns(4)[4]
    assert (got.answer.initial, got.answer.text) == (INITIAL, "Dig deep in autumn.")
    assert got.answer.state == "nothing to refine"


async def test_self_refine_may_have_nothing_to_refine() -> None:
    got = await ask("self_refine", INITIAL, STOP)
    assert (got.answer.initial, got.answer.text, got.answer.state) == (INITIAL, INITIAL, "nothing to refine")


async def test_self_refine_ends_after_its_rounds() -> None:
    got = await ask("self_refine", INITIAL, MORE, "Dig deep.", rounds=1)
    assert (got.answer.text, got.answer.state) == ("Dig deep.", "rounds finished")
    got = await ask("self_refine", INITIAL, *[MORE, "Dig."] * 4)
    assert got.answer.state == "rounds finished", "four, as in the source"


async def test_what_is_refined_does_not_say_so() -> None:
    got = await ask("self_refine", INITIAL, MORE, "Better than my previous answer: dig deep.")
    assert isinstance(got.error, BadReply) and got.answer.initial == INITIAL and got.answer.text is None


async def test_early_answers_are_left_out_where_the_context_overflows(server: FakeServer, model: Endpoint) -> None:
    said = iter(["First. " * 300, "Second. " * 300, "Third."])

    def reply(body: dict[str, Any]) -> Any:
        if "First" in str(body) and "Second" in str(body):
            return error(400, "This model's maximum context length is 4096 tokens")
        return next(said)

    server.on["text"] = reply
    setup = Setup(METHODS["self_refine"], SelfRefineSettings(rounds=2))
    answer, failure = await last(setup.answer(TALK, model))
    assert failure is None and answer.text == "Third."
    assert "Second" in server.prompts("text")[-1] and TALK.text in server.prompts("text")[-1]


async def test_critique_revise() -> None:
    """A critique by one principle, then the revision in the same conversation; the next round starts from that."""
    own = ("Be kind </principle>.", "Be kind </principle>.")
    said = (INITIAL, "It is unkind.", "Dig, please.", "It is kind.", "Dig, if you like.")
    got = await ask("critique_revise", *said, rounds=2, principles=own)
    assert got.kinds == ["initial", "critique", "revision", "critique", "revision"]
    assert got.turns(0) == [TALK.text]
    for number, answer in ((1, INITIAL), (3, "Dig, please.")):
        question, first, critique, found, then = got.turns(number + 1)
        assert got.turns(number) == [question, first, critique] == [TALK.text, answer, critique]
        assert "<principle>\nBe kind ‹/principle>.\n</principle>" in critique
        assert found == said[number] and "write your answer again" in then
    assert (got.answer.initial, got.answer.text, got.answer.state) == (INITIAL, "Dig, if you like.", "rounds finished")


async def drawn(seed: int = 0, question: Question = TALK) -> list[str]:
    """The principles of four rounds."""
    got = await ask("critique_revise", INITIAL, *["Fine.", "Dig."] * 4, seed=seed, question=question)
    return [chat[-1].content for chat in got.chats[1::2]]


async def test_the_seed_and_the_question_draw_the_principles() -> None:
    plain = TALK.model_copy(update={"history": (Message(role="user", content="Hi"),) * 2})
    draws = [await drawn(), await drawn(seed=1), await drawn(question=plain)]
    assert draws[0] == await drawn()
    assert draws[0] != draws[1] and draws[0] != draws[2]
    assert len({principle for draw in draws for principle in draw}) > 4


@pytest.mark.parametrize("settings", [SelfRefineSettings(budget=700), CritiqueReviseSettings(budget=700)])
async def test_a_budget_decides_the_rounds(settings: Any, server: FakeServer, model: Endpoint) -> None:
    """The fake endpoint's calls cost 110 tokens each, so 700 are the initial response and two rounds."""
    name = "self_refine" if isinstance(settings, SelfRefineSettings) else "critique_revise"
    answer, _ = await last(Setup(METHODS[name], settings).answer(TALK, model))
    assert (len(answer.calls), answer.state) == (5, "rounds finished")
    used = answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert used == 550 <= settings.budget < 550 + 220


def test_options_of_the_rounds(cli: Run, server: FakeServer, tmp_path: Path) -> None:
    """They reach the settings and the run; what can't be used, or the method has not, is refused in one line."""
    source, own, out = tmp_path / "questions.txt", tmp_path / "own.txt", tmp_path / "run"
    source.write_text("One?\nTwo?\n")
    own.write_text("Be kind.\n\n  Be brief. \n", encoding="utf-8-sig")
    base = ("generate", str(source), "--endpoint", server.url, "--out")
    mine = (*base, str(out), "--method", "critique_revise", "--rounds", "2", "--principles", str(own))
    assert cli(*mine, "--limit", "1").returncode == 0
    assert len(server.requests) == 5
    own.unlink()
    assert cli(*base, str(out)).returncode == 0, "the run keeps its principles"
    answers = [json.loads(answer) for (answer,) in rows(out / "record.db", "SELECT answer FROM answers")]
    wanted = {"rounds": 2, "principles": ["Be kind.", "Be brief."], "budget": 0}
    assert [answer["settings"] for answer in answers] == [wanted, wanted]

    def refused(*options: str, method: str = "self_refine") -> str:
        done = cli(*base, str(tmp_path / "none"), "--method", method, *options)
        assert done.returncode == 2
        return done.stderr

    assert "--method self_refine has no setting --principles; leave it out" in refused("--principles", str(source))
    assert "--method vanilla has no setting --budget" in refused("--budget", "9", method="vanilla")
    assert "--method guided has no setting --rounds" in refused("--rounds", "2", method="guided")
    assert "--method matrix has no setting --candidates" in refused("--candidates", "2", method="matrix")
    assert "--rounds is a whole number from 1 to 100 (got 0)" in refused("--rounds", "0")
    assert "--budget is a whole number from 0 to 100,000,000 (got -1)" in refused("--budget", "-1")
    assert "there is no such file" in refused("--principles", str(own), method="principles")
    own.write_text(" \n")
    assert f"--principles {own} holds no principle; write one a line" in refused(
        "--principles", str(own), method="principles"
    )
    own.write_bytes(b"\xff\xfe\x00")
    assert "can't be read as UTF-8 text" in refused("--principles", str(own), method="principles")
