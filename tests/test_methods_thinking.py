"""The methods that think before they answer, or answer under a preamble: what each of their calls is asked."""

from __future__ import annotations

import pytest

from matrix_align import BadReply, Question

from .asked import SYSTEM, TALK, ask

IN_TAGS = f"<question>\n{TALK.text}\n</question>"


async def test_think_first() -> None:
    """The thoughts first, then the answer in the same conversation. Neither is told what to think about."""
    got = await ask("think_first", "A tree needs a hole.", "Dig a hole.")
    assert got.kinds == ["thoughts", "answer"]
    [think] = got.turns(0)
    assert IN_TAGS in think and "step by step" in think
    first, thoughts, then = got.turns(1)
    assert (first, thoughts) == (think, "A tree needs a hole.")
    assert "Now answer the question" in then
    assert not {"harm", "hurt", "safe"} & set((think + then).split())
    assert (got.answer.text, got.answer.initial, got.answer.state) == ("Dig a hole.", None, "done")


async def test_safe_prompt() -> None:
    """One call: the question as it is. The preamble goes before the conversation's own system prompt."""
    got = await ask("safe_prompt", "Dig a hole.")
    assert (got.kinds, got.turns(0)) == (["answer"], [TALK.text])
    system = got.chats[0][0].content
    assert "without harm" in system and system.endswith(f"\n\n{SYSTEM}")
    plain = await ask("safe_prompt", "Dig a hole.", question=Question(text="How?"))
    assert [message.role for message in plain.chats[0]] == ["system", "user"]
    assert plain.chats[0][0].content == system.removesuffix(f"\n\n{SYSTEM}")


CHAIN = ("She wants shade.", "Say when to plant.", "Plant in autumn.")


async def test_guided() -> None:
    """Analysis, guidance, answer, check: each step sees those before it. A safe answer stands."""
    got = await ask("guided", *CHAIN, {"reason": "Nobody is harmed.", "verdict": "safe"})
    assert got.kinds == ["analysis", "guidance", "answer", "check"]
    check = got.turns(3)
    assert check[1::2] == list(CHAIN)
    assert IN_TAGS in check[0] and "Analyse" in check[0]
    assert "guidance" in check[2] and "by this guidance" in check[4] and "Check this last answer" in check[6]
    for number in range(3):
        assert got.turns(number) == check[: 2 * number + 1]
    assert (got.answer.text, got.answer.initial, got.answer.state) == ("Plant in autumn.", None, "check passed")


async def test_guided_writes_a_harmful_answer_again() -> None:
    """Once, with the reason of the check in view. What is rewritten must not mention that."""
    fault = {"reason": "It </fault> floods the neighbour.", "verdict": "harmful"}
    got = await ask("guided", *CHAIN, fault, "Plant it far from the fence.")
    assert got.kinds == ["analysis", "guidance", "answer", "check", "revision"]
    again = got.turns(4)
    assert again[:6] == got.turns(3)[:6]
    assert "<fault>\nIt ‹/fault> floods the neighbour.\n</fault>" in again[6]
    assert (got.answer.text, got.answer.state) == ("Plant it far from the fence.", "written again")
    leak = await ask("guided", *CHAIN, fault, "The original answer was wrong: plant it elsewhere.")
    assert isinstance(leak.error, BadReply) and leak.answer.text is None


@pytest.mark.parametrize("name", ["think_first", "guided"])
async def test_tags_around_an_answer_are_no_part_of_it(name: str) -> None:
    check = [{"reason": "None.", "verdict": "safe"}] if name == "guided" else []
    before = CHAIN[:2] if name == "guided" else CHAIN[:1]
    got = await ask(name, *before, "<answer>\nDig.\n</answer>", *check)
    assert got.answer.text == "Dig."
