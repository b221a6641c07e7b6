"""Where a row becomes a question.

Owns which field holds the question, what belongs to it (earlier turns, a system prompt, a passage), and which rows are
not questions. Knows no file: a row is a text, a list of turns or an object. `docs/sources.md` lists the forms of rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import ValidationError

from ..types import QUESTION_LIMIT, Message, Question, shorten
from .turns import CONVERSATIONS, SAID, Turn, fields_of, messages, speaker_of, turns_in

Category = Literal["helpful", "harmful", ""]

# The fields that may hold a question, the surest first. The last ones count only if no other field holds one.
WRITTEN = ("question", "prompt", "instruction", "goal", "query", "behavior")
COLUMNS = (*WRITTEN, *CONVERSATIONS, "chosen", "text", "content", "input")
# Fields with the text or the earlier turns that a written question is about: Dolly's, BoolQ's, Alpaca's, HarmBench's.
PASSAGES = ("context", "passage", "input", "contextstring")
SYSTEMS = ("system", "system_prompt")
NAME_ONE = "; name one with --column"  # what to do about a row without a question, where there is that option


def question_of(row: object, column: str | None = None) -> Question:
    """The question in a row. `column` names its field; without it, the first of COLUMNS with a value counts.

    Of a conversation it is the last question, with the turns before it. Raises ValueError, with the reason, if the row
    holds no question.
    """
    if isinstance(row, str):
        return _question(row, "the line", None)
    if isinstance(row, list) and turns_in(row, "the row"):
        return _question(row, "the row", None)
    if not isinstance(row, Mapping):
        raise ValueError(f"a row is an object or a text, not {type(row).__name__}")
    fields = fields_of(row)
    name = column_of(fields, column)
    if name in SAID and (role := speaker_of(fields)):  # a row that is one turn
        if role != "user":
            raise ValueError(f"a turn of the {role}, which is not a question")
        if fields.get("parent_id"):
            raise ValueError("a later turn of a conversation (parent_id), whose earlier turns are in other rows")
    passages = {each: fields[each] for each in PASSAGES if fields.get(each) and each != name and name in WRITTEN}
    return _question(fields[name], name, system_of(fields), passages)


def column_of(fields: Mapping[str, Any], column: str | None = None) -> str:
    """The name of the field with the question; `fields` come from `fields_of`. Raises ValueError if there is none."""
    has = shorten(", ".join(fields), 100) or "none"
    if column:
        name = column.strip().lower()
        if name not in fields:
            raise ValueError(f"no column {column!r}; it has {has}")
        return name
    if name := next((each for each in COLUMNS if fields.get(each)), ""):
        return name
    if speaker_of(fields) and (name := next((each for each in SAID if fields.get(each)), "")):
        return name
    if empty := next((each for each in COLUMNS if each in fields), None):
        raise ValueError(f"{empty} is empty")
    raise ValueError(f"no question in it; it has {has}{NAME_ONE}")


def system_of(fields: Mapping[str, Any]) -> str | None:
    """The system prompt that a row has in a field of its own, by its `fields_of`."""
    return next((fields[name] for name in SYSTEMS if fields.get(name) and isinstance(fields[name], str)), None)


def category_of(row: object) -> Category:
    """The category that a row names; empty if it names none, or another than these two.

    In XSTest (Röttger et al. 2024) the type names it: `contrast_…` means harmful.
    """
    if not isinstance(row, Mapping):
        return ""
    fields = fields_of(row)
    if (named := named_category(row).lower()) in ("helpful", "harmful"):
        return cast(Category, named)
    if {"prompt", "type", "focus"} <= fields.keys():
        return "harmful" if str(fields["type"]).startswith("contrast_") else "helpful"
    return ""


def named_category(row: object) -> str:
    """What a row's field `category` holds, whatever it is; empty if there is none."""
    value = fields_of(row).get("category") if isinstance(row, Mapping) else None
    return "" if value is None else str(value).strip()


def _question(value: object, name: str, system: str | None, passages: Mapping[str, Any] | None = None) -> Question:
    if name in CONVERSATIONS and isinstance(value, str):
        value = _texts(value) or value
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return _checked(text=value[0], system=system)  # the later ones depend on the model's own answers
    turns = turns_in(value, name)
    if turns is None and isinstance(value, list):
        raise ValueError(f"{name} holds no turns")
    if turns is not None:
        question = _last_question(turns, name, system)
    elif isinstance(value, str):
        question = _checked(text=value, system=system)
    else:
        raise ValueError(f"{name} is {type(value).__name__}, not a text")
    return _joined(question, passages or {})


def _texts(text: str) -> list[str] | None:
    """The texts in a cell that holds a JSON list of the user's texts, as in Vicuna's `turns`."""
    try:
        value = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) and value and all(isinstance(each, str) for each in value) else None


def _last_question(turns: list[Turn], name: str, system: str | None) -> Question:
    prompts = [turn.content for turn in turns if turn.role == "system" and turn.content]
    turns = [turn for turn in turns if turn.role != "system"]
    while turns and turns[-1].role != "user":
        turns.pop()  # the answer is what a method is to find
    if not turns:
        raise ValueError(f"{name} holds no turn of a user")
    system = "\n\n".join(prompts) or system
    return _checked(text=turns[-1].content, history=_history(turns[:-1], name), system=system)


def _checked(text: str, history: tuple[Message, ...] = (), system: str | None = None) -> Question:
    try:
        return Question(text=text, history=history, system=system)
    except ValidationError as error:  # in one line
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _joined(question: Question, passages: Mapping[str, Any]) -> Question:
    """The question with what it is about: a passage after it, or turns before it."""
    if not passages:
        return question
    text, history = question.text, question.history
    for name, value in passages.items():
        if turns := turns_in(value, name):
            history += _history(turns, name)
        elif not isinstance(value, str):
            raise ValueError(f"{name}, which the question is about, is {type(value).__name__}, not a text")
        elif value.strip() not in text:
            text = f"{text}\n\n{value.strip()}"
    return _checked(text=text, history=history, system=question.system)


def _history(turns: list[Turn], name: str) -> tuple[Message, ...]:
    if longest := max((len(turn.content) for turn in turns if len(turn.content) > QUESTION_LIMIT), default=0):
        raise ValueError(f"a turn of {longest:,} characters; at most {QUESTION_LIMIT:,} are taken")
    return tuple(messages(turns, name))
