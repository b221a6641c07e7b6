"""Role answer: the model answers in a social role, critics in roles find fault, and it answers again in its role.

Ziheng et al. 2026, arXiv 2602.00061 (Findings of ACL 2026): a role such as mother or judge brings values and the skill
to apply them. No training: a generator in a role, and critics in roles who refine its answer again and again. It needs
nothing.

The first answer is given as a mother. Then all critics (mother, judge, teacher) read it at once, each in its role. If
none finds a fault, the answer stands. Otherwise it is rewritten, in the role, with the faults in view, and the critics
read it again: at most `rounds` times. 1 + 4 calls a round; the last round is without a revision if nobody finds fault.

With a budget, `rounds` counts for nothing: there are as many rounds as fit, unless the critics are content before.

Departs from the source in these: the abstract and the introduction are what we had of the source, so the prompts, the
third critic and the number of rounds are ours; the conversation's own system prompt is kept behind the role.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..llm.structured import FromModel, OptionalLine, Prose
from ..simulation.conversation import REPLY_TOKENS
from ..simulation.revise import revised
from ..types import Draft, Frozen, Message, Question
from .answers import transcript, written
from .budget import Budget, Rounds, rounds_within
from .chat import Untagged, chat

PROMPTS = Prompts("matrix_align.methods.prompts.role_answer")
WRITER = "mother"
CRITICS = ("mother", "judge", "teacher")


class RoleAnswerSettings(Frozen):
    """`rounds` is the most rounds of critics, `budget` the tokens that one answer may cost (0: any number)."""

    rounds: Rounds = 2
    budget: Budget = 0


class Criticism(FromModel):
    """What one critic finds in an answer. Both are empty if there is no fault."""

    fault: OptionalLine
    change: OptionalLine


async def role_answer(question: Question, caller: Caller, settings: RoleAnswerSettings) -> AsyncIterator[Draft]:
    role = PROMPTS.render("role", role=WRITER)
    [first] = await written(
        caller, [Request("answer", Untagged, lambda _: chat(question, question.text, system=role), who=WRITER)]
    )
    draft, answer, ending = Draft(initial=first.text, initial_cut=first.cut), first, "critics not content"
    yield draft
    for number in rounds_within(caller, settings.rounds, settings.budget):
        found = await caller.all([_criticism(question, answer.text, critic, number) for critic in CRITICS])
        yield draft
        faults = [
            f"- {critic}: {criticism.fault} {criticism.change}".rstrip()
            for critic, criticism in zip(CRITICS, found, strict=True)
            if criticism.fault
        ]
        if not faults:
            ending = "critics content"
            break
        [answer] = await written(caller, [_revision(question, role, answer.text, faults, number)])
        yield draft
    yield draft.model_copy(update={"text": answer.text, "text_cut": answer.cut, "ending": ending})


def _criticism(question: Question, answer: str, critic: str, number: int) -> Request[Criticism]:
    task = PROMPTS.render("criticism", role=critic, conversation=transcript(question), answer=answer)
    messages = [Message(role="user", content=task)]
    return Request("criticism", Criticism, lambda _: messages, REPLY_TOKENS, who=critic, step=number)


def _revision(question: Question, role: str, answer: str, faults: list[str], number: int) -> Request[Prose]:
    task = PROMPTS.render("revision", criticism="\n".join(faults))
    turns = chat(question, question.text, answer, task, system=role)
    return Request("revision", revised(question, answer), lambda _: turns, who=WRITER, step=number)
