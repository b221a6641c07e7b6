"""Turns the answers of a run into rows of training data.

Owns the formats: TRL's `messages` (SFT) and `prompt`/`chosen`/`rejected` (DPO, conversational), ShareGPT's
`conversations` (Axolotl, and FastChat with an `id`), and whole scenes. Decides which answers make no row, and why.
Knows no file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..generate.run import Run
from ..simulation.passages import whole_sentences
from ..types import Answer, Cut, Message

FASTCHAT = "fastchat"  # ShareGPT for FastChat's trainer: one JSON list, without system turns
# Kinds of calls that make no row of their own. An answer belongs to the prompt that led to it, which no user writes. Of
# two judgements in either order that disagree, one is wrong.
ANSWERS = ("initial", "answer", "revision", "segment")
JUDGEMENTS = ("judgement",)
SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}

Json = dict[str, Any]
Turns = list[dict[str, str]]


@dataclass(frozen=True)
class Limit:
    """The most tokens that a row may have. `length` counts the tokens of a chat, as `model` reads it."""

    tokens: int
    length: Callable[[Turns], int]
    model: str


@dataclass(frozen=True)
class TrainingRow:
    """One row to write. `kind` is what it counts as in a mix. `asked`, the id of the question, decides its split.

    `left_out` says why a row is not written. Such a row has no content.
    """

    kind: str
    source: str
    asked: str
    content: Json
    answer: str = ""
    cut: bool = False
    left_out: str = ""


def training_rows(run: Run, format: str, simulation: bool, limit: Limit | None = None) -> Iterator[TrainingRow]:
    """The rows of every finished answer, in order. With `simulation`, also the rows of its calls (see `_calls`).

    A row longer than the limit is left out, so that a tuning learns from every row that is written.
    """
    for answer, category, source in run.inputs.answers():
        yield _row_of(answer, category, source, format, limit)
        if simulation and _usable(answer.text or "", answer.text_cut):
            asked = _question_id(answer)
            for messages, reply in _calls(run, answer):
                chat = _chat(messages, reply, format)
                row = TrainingRow("simulation", source, asked, _conversation(chat, format), reply)
                yield _within(limit, row, chat)


def _row_of(answer: Answer, category: str, source: str, format: str, limit: Limit | None) -> TrainingRow:
    """The row of an answer. It may be one that is left out. Of a pair, `text` is chosen and `initial` is rejected."""
    kind, asked, cut = category or "uncategorised", _question_id(answer), bool(answer.text_cut)
    assert answer.text is not None, "a finished answer has a text"

    def row(content: Json, *chats: Turns) -> TrainingRow:
        return _within(limit, TrainingRow(kind, source, asked, content, text, cut), *chats)

    def no_row(why: str) -> TrainingRow:
        return TrainingRow(kind, source, asked, {}, left_out=why)

    text, messages = _usable(answer.text, answer.text_cut), answer.question.messages()
    prompt: Turns = [message.model_dump() for message in messages]
    initial = _usable(answer.initial or "", answer.initial_cut)
    if format == "scenes":
        content: Json = {"id": answer.id, "question": answer.question.text, "category": category}
        content |= {"initial": answer.initial, "revised": answer.text, "answer": answer.model_dump_json()}
        return row(content) if answer.scene else no_row("no scene")
    if answer.text_cut == "filter":
        return no_row("the answer was cut by a content filter")
    if not text:
        return no_row("no whole sentence in the answer")
    if format != "dpo":
        chat = _chat(messages, text, format)
        return row(_conversation(chat, format), chat)
    if answer.initial is None:
        return no_row("the method makes no pairs")
    if not initial:
        return no_row("no whole sentence in the answer to reject")
    if initial == text:
        return no_row("nothing to reject: both answers are the same")
    pair = {"prompt": prompt, "chosen": [_turn(text)], "rejected": [_turn(initial)]}
    return row(pair, [*prompt, _turn(text)], [*prompt, _turn(initial)])


def _within(limit: Limit | None, row: TrainingRow, *chats: Turns) -> TrainingRow:
    """The row. It is left out if one of its chats is too long."""
    if limit and any(limit.length(chat) > limit.tokens for chat in chats):
        return replace(row, content={}, left_out=f"longer than {limit.tokens:,} tokens of {limit.model}")
    return row


def _question_id(answer: Answer) -> str:
    """A hash of how the conversation begins, so that no dialogue has turns on both sides of a split."""
    return hashlib.sha256(answer.question.opening().encode()).hexdigest()


def _usable(text: str, cut: Cut) -> str:
    """The part of a text that can be used.

    A whole text is used as it is. A text cut at its longest length is used up to its last whole sentence. A text cut by
    a filter is not used.
    """
    if cut == "filter":
        return ""
    return whole_sentences(text) if cut else text.strip()


def _calls(run: Run, answer: Answer) -> Iterator[tuple[list[Message], str]]:
    """The calls that led to the answer, as messages and reply: what the model thought, found and foresaw.

    Answers and judgements are left out. So are the examples and hints in a call: a tuned model should not need them.
    """
    for call in answer.calls:
        if call.kind in ANSWERS + JUDGEMENTS or call.cut or not call.key:
            continue
        for request, text in run.store.select("SELECT request, text FROM calls WHERE key = ?", call.key):
            first, *rest = json.loads(request)["messages"]
            yield [Message.model_validate(message) for message in (first, *rest[call.examples :])], text


def _chat(messages: list[Message], answer: str, format: str) -> Turns:
    if format == FASTCHAT and len(messages) > 1 and messages[0].role == "system":
        first = Message(role=messages[1].role, content=f"{messages[0].content}\n\n{messages[1].content}")
        messages = [first, *messages[2:]]
    return [*(message.model_dump() for message in messages), _turn(answer)]


def _conversation(chat: Turns, format: str) -> Json:
    if format == "sft":
        return {"messages": chat}
    return {"conversations": [{"from": SPEAKERS[turn["role"]], "value": turn["content"]} for turn in chat]}


def _turn(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
