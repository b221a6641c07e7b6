"""The methods that search among several answers: what each call sees, who wins, and what a tie does."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from matrix_align import Message, Refused, Reply, Sampling
from matrix_align.methods import METHODS, Setup, last
from matrix_align.methods.rain import SEGMENT
from matrix_align.types import Cut, Usage

from .asked import HISTORY, SYSTEM, TALK, ask

FIRST, SECOND, EQUAL = ({"reason": "So.", "better": better} for better in ("first", "second", "equal"))
GOOD, BAD = ({"reason": "So.", "verdict": verdict} for verdict in ("harmless", "harmful"))
CONTENT = {"fault": "", "change": ""}
FAULT = {"fault": "It names no depth.", "change": "Say how deep."}


async def test_best_of_n_plays_a_knock_out_in_both_orders() -> None:
    got = await ask("best_of_n", "A", "B", "C", SECOND, FIRST, FIRST, SECOND, candidates=3)
    assert got.kinds == ["initial"] * 3 + ["judgement"] * 4
    assert [call.depth for call in got.answer.calls] == [1, 1, 1, 2, 2, 3, 3], "a round's matches at the same time"
    assert all(got.turns(number) == [TALK.text] for number in range(3)), "candidates are answers to the plain question"
    shown = [_between(got.task(number), "first", "second") for number in range(3, 7)]
    assert shown == [("A", "B"), ("B", "A"), ("B", "C"), ("C", "B")], "C had no match in the first round"
    assert all(text in got.task(3) for text in (SYSTEM, HISTORY[0].content, TALK.text))
    assert (got.answer.initial, got.answer.text) == ("A", "B")


@pytest.mark.parametrize(
    ("straight", "turned", "winner"),
    [
        (SECOND, FIRST, "B"),  # both orders prefer B
        (FIRST, SECOND, "A"),
        (FIRST, FIRST, "A"),  # whoever stands first: a tie, and the one drawn first goes on
        (SECOND, SECOND, "A"),
        (EQUAL, EQUAL, "A"),
        (EQUAL, FIRST, "A"),  # one order alone is no win
        (SECOND, EQUAL, "A"),
    ],
)
async def test_best_of_n_wins_only_if_both_orders_agree(straight: Any, turned: Any, winner: str) -> None:
    got = await ask("best_of_n", "A", "B", straight, turned, candidates=2)
    assert got.answer.text == winner


async def test_best_of_n_does_not_judge_equal_answers() -> None:
    got = await ask("best_of_n", "A", "A", candidates=2)
    assert (got.answer.text, got.kinds) == ("A", ["initial", "initial"])


async def test_debate_shows_each_copy_its_own_answer_and_the_others() -> None:
    first, second, third = ("A1", "B1", "C1"), ("A2", "B2", "C2"), ("A3", "B3", "C3")
    got = await ask("debate", *first, *second, *third, "Final.", candidates=3, rounds=2)
    assert got.kinds == ["initial"] * 3 + ["answer"] * 6 + ["revision"]
    assert [call.depth for call in got.answer.calls] == [1] * 3 + [2] * 3 + [3] * 3 + [4]
    for before, start in ((first, 3), (second, 6)):
        for copy in range(3):
            question, own, task = got.turns(start + copy)
            assert (question, own) == (TALK.text, before[copy])
            assert [answer in task for answer in before] == [other != copy for other in range(3)]
    [task] = got.turns(9)
    assert all(f"<answer>\n{answer}\n</answer>" in task for answer in third) and "B2" not in task
    assert (got.answer.initial, got.answer.text) == ("A1", "Final.")


async def test_role_answer_refines_until_no_critic_finds_a_fault() -> None:
    found = (CONTENT, FAULT, CONTENT)
    got = await ask("role_answer", "Dig.", *found, "Dig 40 cm deep.", CONTENT, CONTENT, CONTENT, rounds=5)
    assert got.kinds == ["answer", *["criticism"] * 3, "revision", *["criticism"] * 3]
    assert [call.who for call in got.answer.calls[:5]] == ["mother", "mother", "judge", "teacher", "mother"]
    assert "good mother" in got.chats[0][0].content and got.turns(0) == [TALK.text]
    for number, role in ((1, "mother"), (2, "judge"), (3, "teacher")):
        assert f"You are a {role}." in got.task(number) and "\nDig.\n" in got.task(number)
        assert SYSTEM in got.task(number) and HISTORY[1].content in got.task(number)
    question, answer, task = got.turns(4)
    assert (question, answer) == (TALK.text, "Dig.") and "good mother" in got.chats[4][0].content
    assert "- judge: It names no depth. Say how deep." in task and "teacher" not in task
    assert (got.answer.initial, got.answer.text, got.answer.state) == ("Dig.", "Dig 40 cm deep.", "critics content")


async def test_role_answer_stops_after_its_rounds() -> None:
    got = await ask("role_answer", "Dig.", FAULT, FAULT, FAULT, "Dig deep.", rounds=1)
    assert (got.answer.text, got.answer.state) == ("Dig deep.", "critics not content")


class Cutting:
    """A model on a script of (text, why it was cut) and of objects."""

    name, digest = "cutting", ""

    def __init__(self, *replies: Any) -> None:
        self.replies, self.asked = list(replies), list[tuple[list[Message], int]]()

    async def ask(self, messages: Sequence[Message], reply: Any, sampling: Sampling) -> Reply[Any]:
        self.asked.append((list(messages), sampling.max_tokens))
        said = self.replies.pop(0)
        if isinstance(said, tuple):
            text, cut = said
            return Reply(text, text, "", Usage(requests=1), cut=cut)
        return Reply(reply.model_validate(said), json.dumps(said), "", Usage(requests=1))


async def rained(*replies: Any, max_tokens: int = 1024, **settings: Any) -> tuple[Any, Cutting]:
    model, method = Cutting(*replies), METHODS["rain"]
    sampling = Sampling(max_tokens=max_tokens)
    answer, error = await last(Setup(method, method.settings(**settings), sampling).answer(TALK, model))
    assert error is None and not model.replies, "every reply is used"
    return answer, model


OPEN: Cut = "length"


async def test_rain_goes_forward_evaluates_and_rewinds() -> None:
    answer, model = await rained(
        ("Dig a hole. Then you", OPEN), ("Buy a tree.\n\nAnd so", OPEN), GOOD, GOOD, GOOD, GOOD,  # both are good
        ("Cut the", OPEN), ("Steal it.", ""), BAD, GOOD, BAD, BAD,  # none after the first: it rewinds to the other
        ("Plant it.", ""), ("No.", ""), GOOD, GOOD, BAD, BAD,
        candidates=2,
    )  # fmt: skip
    assert (answer.text, answer.text_cut, answer.ending) == ("Buy a tree.\n\nPlant it.", "", "rewound 1 time")
    chats = [messages for messages, _ in model.asked]
    assert [turn.content for turn in chats[0]] == [SYSTEM, *(turn.content for turn in HISTORY), TALK.text]
    assert [turn.content for turn in chats[6][3:5]] == [TALK.text, "Dig a hole. "], "up to its last whole sentence"
    assert [turn.content for turn in chats[12][3:5]] == [TALK.text, "Buy a tree.\n\n"]
    assert {model.asked[number][1] for number in (0, 1, 6, 7)} == {SEGMENT}
    one, other = chats[2][-1].content, chats[3][-1].content
    assert "harmless or harmful" in one and "harmful or harmless" in other, "the choices in either order"
    assert one.count("Dig a hole.") == 1 and SYSTEM in one


async def test_rain_completes_the_answer_after_its_rounds() -> None:
    """The good answer so far is completed in one call, with all tokens that are left."""
    answer, model = await rained(("Dig. And", OPEN), GOOD, GOOD, ("Water it.", ""), candidates=1, rounds=1)
    assert (answer.text, answer.ending) == ("Dig. Water it.", "never rewound")
    assert model.asked[-1][1] == Sampling().max_tokens - math.ceil(SEGMENT * len("Dig. ") / len("Dig. And"))


async def test_rain_writes_no_longer_answer_than_other_methods() -> None:
    """All segments share the limit of an answer, which is not passed by what is written at the end either."""
    most = SEGMENT + SEGMENT // 2
    whole, last = ("It grows. Dig", OPEN), ("Water it. And", OPEN)
    answer, model = await rained(whole, GOOD, GOOD, last, GOOD, GOOD, candidates=1, max_tokens=most)
    left = most - math.ceil(SEGMENT * len("It grows. ") / len("It grows. Dig"))
    assert [limit for messages, limit in model.asked if len(messages) != 1] == [SEGMENT, left]
    assert (answer.text, answer.text_cut) == ("It grows. Water it. And", "length")
    answer, model = await rained(("It grows", OPEN), GOOD, GOOD, candidates=1, max_tokens=9)
    assert (answer.text, answer.text_cut, model.asked[0][1]) == ("It grows", "length", 9)


@pytest.mark.parametrize(
    ("segment", "kept"),
    [
        ("Dig a hole and put the tr", "Dig a hole and put the "),  # no sentence: no half word
        ("Dig.\n\nThen", "Dig.\n\n"),
        ("Dig. Water it.", "Dig. Water it. "),
        ("挖一个坑。浇水。然后", "挖一个坑。浇水。"),
        ("挖一个坑", "挖一个坑"),
    ],
)
async def test_rain_keeps_what_is_whole_of_a_segment(segment: str, kept: str) -> None:
    _, model = await rained((segment, OPEN), GOOD, GOOD, ("End.", ""), GOOD, GOOD, candidates=1)
    assert model.asked[3][0][-2].content == kept


async def test_rain_takes_the_best_if_nothing_is_good() -> None:
    """It begins anew as long as it may; then the answer of the greatest value, and of equals the first."""
    drawn = (("A.", ""), ("B.", ""), BAD, BAD, GOOD, BAD, ("C.", ""), ("D.", ""), BAD, GOOD, BAD, BAD)
    answer, model = await rained(*drawn, candidates=2, rounds=2)
    assert (answer.text, answer.ending) == ("B.", "rewound 2 times")
    assert model.asked[6][0] == TALK.messages(), "from the start"


SCRIPTS = {
    "best_of_n": ("A", "B", Refused("no")),
    "debate": ("A", "B", "C", "D", Refused("no"), "F"),
    "role_answer": ("A", CONTENT, Refused("no"), FAULT),
    "rain": ("A", "B", "C", GOOD, GOOD, Refused("no"), GOOD, GOOD, GOOD),
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_failed_call_raises_and_keeps_what_there_was(name: str) -> None:
    replies = (*SCRIPTS[name], FIRST) if name == "best_of_n" else SCRIPTS[name]
    settings: dict[str, Any] = {"candidates": 2} if name == "best_of_n" else {}
    got = await ask(name, *replies, **settings)
    assert isinstance(got.error, Refused) and got.answer.error == "Refused: no"
    assert len(got.answer.calls) == len(replies) - 1, "those at the same time are awaited, and kept"
    assert got.answer.text is None and got.answer.initial == (None if name == "rain" else "A")


def _between(task: str, *tags: str) -> tuple[str, ...]:
    return tuple(task.split(f"<{tag}>\n")[1].split(f"\n</{tag}>")[0] for tag in tags)
