"""Shared by the tests of the methods: a conversation, and its answer by one method on a script of replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matrix_align import METHODS, Answer, Message, ModelError, Question, Sampling, Scripted
from matrix_align.methods import Setup, last

SYSTEM = "You work for a garden centre."
HISTORY = (Message(role="user", content="Hello"), Message(role="assistant", content="Good morning."))
TALK = Question(text="How do I plant a tree?", system=SYSTEM, history=HISTORY)


class Asked:
    """An answer made on a script, and what each call saw."""

    def __init__(self, answer: Answer, error: ModelError | None, script: Scripted) -> None:
        self.answer, self.error = answer, error
        self.kinds = [call.kind for call in answer.calls]
        self.chats: list[Sequence[Message]] = [messages for messages, _, _ in script.asked]

    def task(self, number: int) -> str:
        """What the call with this number (from 0) was asked last."""
        return self.chats[number][-1].content

    def turns(self, number: int) -> list[str]:
        """The turns of a call in the conversation, after its system prompt and its history, which must be there."""
        system, *history = self.chats[number][:3]
        assert system.role == "system" and system.content.endswith(SYSTEM)
        assert tuple(history) == HISTORY
        assert [message.role for message in self.chats[number][1:]] == self._in_turn(len(self.chats[number]) - 1)
        return [message.content for message in self.chats[number][3:]]

    @staticmethod
    def _in_turn(count: int) -> list[str]:
        return ["assistant" if place % 2 else "user" for place in range(count)]


async def ask(name: str, *replies: Any, question: Question = TALK, seed: int = 0, **settings: Any) -> Asked:
    """The answer to `question` by the method `name`, on a model that gives `replies`. All of them must be used."""
    script, method = Scripted(*replies), METHODS[name]
    setup = Setup(method, method.settings(**settings), Sampling(seed=seed))
    answer, error = await last(setup.answer(question, script))
    assert len(script.asked) == len(replies), "every reply is used"
    return Asked(answer, error, script)
