"""The methods that think before they answer, or answer under a preamble: what each of their calls is asked."""

from __future__ import annotations

from matrix_align import BadReply, Question

from .asked import HISTORY, SYSTEM, TALK, ask

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


async def test_intention() -> None:
    """The intention is stated before anything is answered, and the answer keeps to a policy."""
    got = await ask("intention", "She wants shade.", "Dig a hole.")
    assert got.kinds == ["intention", "answer"]
    [state] = got.turns(0)
    assert IN_TAGS in state and "essential intention" in state and "safety, ethics and law" in state
    first, stated, then = got.turns(1)
    assert (first, stated) == (state, "She wants shade.")
    assert "this policy" in then
    assert (got.answer.text, got.answer.state) == ("Dig a hole.", "done")


async def test_deliberate() -> None:
    """Both calls read the policy, before the conversation's own system prompt; the answer has the reasoning in view."""
    got = await ask("deliberate", "Point 1 applies.", "Dig a hole.")
    assert got.kinds == ["reasoning", "answer"]
    assert got.chats[0][0] == got.chats[1][0]
    system = got.chats[0][0].content
    assert "keep to this policy" in system and system.endswith(f"\n\n{SYSTEM}")
    [reason] = got.turns(0)
    assert IN_TAGS in reason and "Reason over your policy" in reason
    assert got.turns(1)[:2] == [reason, "Point 1 applies."]
    assert (got.answer.text, got.answer.state) == ("Dig a hole.", "done")


async def test_principles() -> None:
    """The principles, five examples with their thoughts, the conversation, the thoughts, the answer."""
    got = await ask("principles", "Useful.", "Dig a hole.")
    assert got.kinds == ["thoughts", "answer"]
    assert [call.examples for call in got.answer.calls] == [20, 20]
    think, answer = got.chats
    assert think[0].content.endswith(SYSTEM) and "1. Useful: " in think[0].content
    assert list(think[21:23]) == list(HISTORY) and len(think) == 24
    assert answer[:24] == think and answer[24].content == "Useful."
    assert IN_TAGS in think[-1].content
    for turns in (think[1:21], answer[1:21]):
        for asked, thoughts, then, said in zip(turns[::4], turns[1::4], turns[2::4], turns[3::4], strict=True):
            assert "Think first" in asked.content and then.content == answer[-1].content
            assert thoughts.role == said.role == "assistant" and thoughts.content != said.content
    assert (got.answer.text, got.answer.state) == ("Dig a hole.", "done")


async def test_principles_of_ones_own() -> None:
    got = await ask("principles", "Cheap.", "Dig a hole.", principles=("Be cheap.", "Be {brave} and $bold."))
    system = got.chats[0][0].content
    assert "\n1. Be cheap.\n2. Be {brave} and $bold.\n" in system and "Useful" not in system


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
