"""The turns of a conversation, in every form in which rows hold them.

Owns what a turn is: who speaks (`role`, ShareGPT's `from`, `speaker`) and the text (`content`, `value`, `text`,
or content parts). A list of turns may also be one text: JSON, a Python literal or a dialogue. Knows no file, and not
what the turns are for: questions, preferences and training rows all consist of them.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from ..types import Message, shorten
from .dialogues import dialogue

# The fields of a row that hold turns.
CONVERSATIONS = ("messages", "conversations", "conversation", "turns", "dialogue", "dialog")
WHO = ("role", "from", "speaker", "author")
SAID = ("content", "value", "text", "message")
SPEAKERS = {
    name: role
    for role, names in {
        "system": "system developer",
        "user": "user human prompter",
        "assistant": "assistant gpt bot chatbot chatgpt model ai",
        "tool": "tool function function_call tool_call tool_response observation ipython",
    }.items()
    for name in names.split()
}
LISTED = re.compile(r"\[\s*\{\s*['\"](?:role|from|speaker|content|value)['\"]\s*:", re.IGNORECASE)
# pandas writes a column of turns that came from Parquet as NumPy prints an array: no commas between the turns.
UNPARTED = re.compile(r"\}\s+(?=\{'(?:role|from|speaker|content|value)':)")


@dataclass(frozen=True)
class Turn:
    """One turn. `tool` stands for both sides: an assistant's call of a tool, and what the tool returned."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


def turns_in(value: object, name: str) -> list[Turn] | None:
    """The turns in the field `name`; None if it holds something else, such as a plain text.

    Raises ValueError if one of the turns can't be understood.
    """
    if isinstance(value, str):
        if listed := _listed(value, name):
            return [turn_of(each, name) for each in listed]
        return [_spoken(who, content, name) for who, content in dialogue(value) or ()] or None
    if isinstance(value, Mapping):
        return [turn_of(each, name) for each in _rows(fields_of(value))] or None
    if not isinstance(value, list) or not any(isinstance(each, Mapping) for each in value):
        return None
    return [turn_of(each, name) for each in value]


def turn_of(value: object, name: str) -> Turn:
    """One turn. Raises ValueError if its speaker is unknown or its content is not text."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} holds something that is not a turn")
    fields = fields_of(value)
    who = next((fields[key] for key in WHO if fields.get(key)), "")
    content = next((fields[key] for key in SAID if fields.get(key)), "")
    turn = _spoken(str(who), _text(content, name), name)
    if turn.role == "assistant" and (fields.get("tool_calls") or fields.get("function_call")):
        return Turn("tool", turn.content)
    return turn


def messages(turns: list[Turn], name: str) -> list[Message]:
    """The turns as messages to a model. Raises ValueError if one of them is a tool's."""
    if any(turn.role == "tool" for turn in turns):
        raise ValueError(f"{name} holds a tool's turn; only turns of system, user and assistant are understood there")
    return [Message(role=cast(Any, turn.role), content=turn.content) for turn in turns]


def fields_of(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The row with its names stripped and in lower case. Of two equal names the first with a value counts."""
    fields: dict[str, Any] = {}
    for name, value in row.items():
        name = str(name).strip("\ufeff \t\r\n").lower()
        if not fields.get(name):
            fields[name] = value
    return fields


def speaker_of(fields: Mapping[str, Any]) -> str | None:
    """The role of the speaker that a row names; None if it names no known one."""
    return next((SPEAKERS.get(str(fields[key]).strip().lower()) for key in WHO if fields.get(key)), None)


def _spoken(who: str, content: str, name: str) -> Turn:
    role = SPEAKERS.get(who.strip().lower())
    if role is None:
        whom = shorten(who, 40) or "nobody"
        raise ValueError(f"{name} holds a turn of {whom!r}, which is not a known role (system, user, assistant)")
    return Turn(cast(Any, role), content)


def _text(content: object, name: str) -> str:
    """The text of a turn's content, which may be a list of parts as in the chat APIs."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = content.get("parts") or [content]
    if not isinstance(content, list):
        raise ValueError(f"{name} holds a turn whose content is {type(content).__name__}, not a text")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise ValueError(f"{name} holds a part of type {shorten(str(kind), 40)}; only texts are understood")
        texts.append(text)
    return "\n".join(texts)


def _listed(text: str, name: str) -> list[object] | None:
    """The turns in a text that is JSON or a Python literal."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return None
    value = _literal(text)
    if value is None and LISTED.match(text):
        raise ValueError(f"{name} begins like a list of turns, and is neither JSON nor a Python literal")
    if isinstance(value, dict):
        return _rows(fields_of(value))
    turns = isinstance(value, list) and value and all(isinstance(each, dict) and _is_turn(each) for each in value)
    return cast("list[object]", value) if turns else None


def _literal(text: str) -> object:
    try:
        return cast(object, json.loads(text, strict=False))
    except (ValueError, RecursionError):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about "\d" in somebody's text
        for literal in (text, UNPARTED.sub("}, ", text)):
            try:
                return cast(object, ast.literal_eval(literal))
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
    return None


def _is_turn(value: Mapping[Any, Any]) -> bool:
    fields = fields_of(value)
    return any(key in fields for key in WHO) and any(key in fields for key in SAID)


def is_chat_log(rows: list[Any]) -> bool:
    """Whether a list of rows is one conversation: bare turns, of which one follows the user's and is not the user's.

    Turns that have other fields too, such as an id, may be of many conversations.
    """
    if not all(isinstance(row, Mapping) and _is_turn(row) and len(row) == 2 for row in rows):
        return False
    return {"user", "assistant"} <= {speaker_of(fields_of(row)) for row in rows}


def _rows(fields: dict[str, Any]) -> list[object]:
    """The turns of an object: a request's `messages`, a turn by itself, or turns stored by column, as the hub does."""
    for key in CONVERSATIONS:
        if isinstance(fields.get(key), list):
            return list(fields[key])
    if not _is_turn(fields):
        return []
    who, said = (next(key for key in keys if key in fields) for keys in (WHO, SAID))
    if not isinstance(fields[who], list):
        return [fields]
    if not isinstance(fields[said], list) or len(fields[who]) != len(fields[said]):
        return []
    return [{"role": role, "content": content} for role, content in zip(fields[who], fields[said], strict=True)]
