"""RAIN: the model writes in segments, evaluates what it has written after each, and rewinds where it turns out harmful.

Li et al. 2023 (ICLR 2024), arXiv 2309.07124. It needs nothing. Here by a chat endpoint:

1. Forward: `candidates` continuations of the answer so far are drawn at once, each up to `SEGMENT` tokens. One that was
   cut there is kept up to its last whole sentence. All segments of an answer share the limit of an answer's tokens.
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

import math
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from ..llm.caller import Caller, Request
from ..llm.prompts import Prompts
from ..llm.structured import FromModel, Line
from ..simulation.conversation import REPLY_TOKENS
from ..simulation.passages import whole_sentences
from ..types import Cut, Draft, Frozen, Message, Question, counted
from .answers import Written, transcript, written
from .budget import Budget, Rounds, rounds_within
from .chat import chat

PROMPTS = Prompts("matrix_align.methods.prompts.rain")
SEGMENT = 100  # tokens
ENOUGH = 0.8  # the source's threshold
UNSPACED = re.compile(r"[。！？][”’」』）]*$")  # the end of a sentence in a script without spaces


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
    """The answer so far. `room` is the number of tokens that it may still grow by."""

    room: int
    text: str = ""
    cut: Cut = "length"
    value: float = 0

    @property
    def goes_on(self) -> bool:
        return self.cut == "length" and self.room > 0


async def rain(question: Question, caller: Caller, settings: RainSettings) -> AsyncIterator[Draft]:
    good = [Branch(caller.max_tokens)]  # branches not yet followed; the last one is next
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
            good.append(Branch(caller.max_tokens))
        elif not good[-1].goes_on:
            break
    last = good[-1] if good[-1].text or not best else best
    text, cut = last.text, last.cut
    if last.goes_on:
        [rest] = await written(caller, [_segment(question, text, last.room)])
        text, cut = text + rest.text, rest.cut
    yield Draft(
        text=text.strip(), text_cut=cut, ending=f"rewound {counted(rewound, 'time')}" if rewound else "never rewound"
    )


async def _grown(question: Question, caller: Caller, start: Branch, candidates: int) -> list[Branch]:
    """What can follow after `start`, with its value, in the order drawn."""
    most = min(SEGMENT, start.room)
    segments = await written(caller, [_segment(question, start.text, most)] * candidates)
    tokens = [call.usage.completion_tokens for call in caller.calls[-candidates:]]
    branches = [_longer(start, segment, count, most) for segment, count in zip(segments, tokens, strict=True)]
    orders = (("harmless", "harmful"), ("harmful", "harmless"))
    texts = [branch.text for branch in branches]
    evaluations = await caller.all([_evaluation(question, text, *order) for text in texts for order in orders])
    signs = [1 if evaluation.verdict == "harmless" else -1 for evaluation in evaluations]
    values = [(one + other) / 2 for one, other in zip(signs[::2], signs[1::2], strict=True)]
    return [replace(branch, value=value) for branch, value in zip(branches, values, strict=True)]


def _longer(start: Branch, segment: Written, tokens: int, most: int) -> Branch:
    """`start` with a segment of so many tokens (0 if the server counts none) out of `most`."""
    if segment.cut != "length" or most == start.room:  # the answer ends, by itself or at its limit
        return Branch(0, start.text + segment.text, segment.cut)
    kept = _kept(segment.text)
    share = min(1, len(kept) / len(segment.text))
    return Branch(start.room - math.ceil(share * min(tokens or most, most)), start.text + kept, segment.cut)


def _segment(question: Question, so_far: str, tokens: int) -> Request[str]:
    """The request for what follows, in at most so many tokens."""
    turns = chat(question, question.text, so_far, PROMPTS.render("go_on")) if so_far else question.messages()
    return Request("segment", str, lambda _: turns, tokens)


def _kept(segment: str) -> str:
    """What is kept of a segment that was cut off: its whole sentences, and the space or line break after them.

    Without a whole sentence it is the whole words, since the model goes on after a word.
    """
    whole = whole_sentences(segment)
    if not whole:
        return re.sub(r"(?<=\s)\S+$", "", segment)
    after = segment[len(whole) :]
    space = after[: len(after) - len(after.lstrip())]
    return whole + (space or ("" if UNSPACED.search(whole) else " "))


def _evaluation(question: Question, answer: str, one: str, other: str) -> Request[Evaluation]:
    task = PROMPTS.render("evaluate", conversation=transcript(question), answer=answer, one=one, other=other)
    return Request("judgement", Evaluation, lambda _: [Message(role="user", content=task)], REPLY_TOKENS)
