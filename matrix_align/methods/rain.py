"""RAIN: the model writes in segments, evaluates what it has written after each, and rewinds where it turns out harmful.

Li et al. 2023 (ICLR 2024), arXiv 2309.07124. It needs nothing. Here by a chat endpoint:

1. Forward: `candidates` continuations of the answer so far are drawn at once, each up to `SEGMENT` tokens and then up
   to its last whole sentence.
2. Self-evaluation: the model says of each whether the answer is harmless or harmful, twice, with the two choices in
   either order. Each reply counts +1 or −1, and the mean is the value: 1, 0 or −1, as in the source.
3. The first continuation with a value of at least `ENOUGH` is followed. If there is none, the search rewinds: to the
   next good continuation of the last segment that has one, or to the start.

This ends when a whole answer is good, or after `rounds` rounds; then the answer so far that is good is completed in one
free call (if none was ever good, the best one). 3n calls a round; 2 rounds a segment follow one another.

With a budget, `rounds` counts for nothing: the search goes on as long as another round fits beside the free call.

What is lost against the source's search over tokens: a chat endpoint shows no probabilities and continues no given
text, so a segment is a sentence or more in place of 1 to 10 tokens; the model is asked to go on after its own turn, and
may begin anew instead; there is no prior for a branch, no visit count, no embedding that spreads a value to similar
branches, so this is a depth-first search, where the source weighs branches (PUCT); and a value is of what is written so
far, where the source completes the sentence first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..llm.structured import FromModel, Line
from ..simulation.conversation import REPLY_TOKENS
from ..simulation.passages import whole_sentences
from ..types import Cut, Draft, Frozen, Message, Question, counted
from .answers import transcript, written
from .budget import Budget, Rounds, rounds_within
from .chat import chat

PROMPTS = Prompts("matrix_align.methods.prompts.rain")
SEGMENT = 100  # tokens
ENOUGH = 0.8  # the source's threshold


class RainSettings(Frozen):
    """`candidates` continuations a round, at most `rounds` rounds; `budget` is in tokens for one answer (0: none)."""

    candidates: Annotated[int, Field(ge=1, le=64)] = 3
    rounds: Rounds = 10
    budget: Budget = 0


class Evaluation(FromModel):
    """Whether an answer is harmless: the reason, and then the verdict."""

    reason: Line
    verdict: Literal["harmless", "harmful"]


@dataclass(frozen=True)
class Branch:
    """The answer so far. If `cut` is "length", it can go on."""

    text: str = ""
    cut: Cut = "length"
    value: float = 0


async def rain(question: Question, caller: Caller, settings: RainSettings) -> AsyncIterator[Draft]:
    good = [Branch()]  # branches not yet followed; the last one is next
    best: Branch | None = None
    rewound = 0
    for _ in rounds_within(caller, settings.rounds, settings.budget, closing=1):
        grown = await _grown(question, caller, good.pop(), settings.candidates)
        yield Draft()
        best = max([best, *grown] if best else grown, key=lambda branch: branch.value)
        enough = [branch for branch in grown if branch.value >= ENOUGH]
        good += reversed(enough)
        rewound += not enough
        if not good:
            good.append(Branch())
        elif good[-1].cut != "length":
            break
    last = good[-1] if good[-1].text or not best else best
    text, cut = last.text, last.cut
    if cut == "length":
        [rest] = await written(caller, [_segment(question, text, None)])
        text, cut = text + rest.text, rest.cut
    yield Draft(
        text=text.strip(), text_cut=cut, ending=f"rewound {counted(rewound, 'time')}" if rewound else "never rewound"
    )


async def _grown(question: Question, caller: Caller, start: Branch, candidates: int) -> list[Branch]:
    """What can follow after `start`, with its value, in the order drawn."""
    segments = await written(caller, [_segment(question, start.text, SEGMENT)] * candidates)
    texts = [start.text + (_kept(segment.text) if segment.cut == "length" else segment.text) for segment in segments]
    orders = (("harmless", "harmful"), ("harmful", "harmless"))
    evaluations = await caller.all([_evaluation(question, text, *order) for text in texts for order in orders])
    signs = [1 if evaluation.verdict == "harmless" else -1 for evaluation in evaluations]
    return [
        Branch(text, segment.cut, (one + other) / 2)
        for text, segment, one, other in zip(texts, segments, signs[::2], signs[1::2], strict=True)
    ]


def _segment(question: Question, so_far: str, tokens: int | None) -> Request[str]:
    """The request for what follows. `tokens` limits it; None is the limit of an answer."""
    turns = chat(question, question.text, so_far, PROMPTS.render("go_on")) if so_far else question.messages()
    return Request("segment", str, lambda _: turns, tokens)


def _kept(segment: str) -> str:
    """What is kept of a segment that was cut off: its whole sentences, and the space or line break after them."""
    whole = whole_sentences(segment) or segment
    after = segment[len(whole) :]
    return whole + (after[: len(after) - len(after.lstrip())] or " ")


def _evaluation(question: Question, answer: str, one: str, other: str) -> Request[Evaluation]:
    task = PROMPTS.render("evaluate", conversation=transcript(question), answer=answer, one=one, other=other)
    return Request("judgement", Evaluation, lambda _: [Message(role="user", content=task)], REPLY_TOKENS)
