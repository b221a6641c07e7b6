"""Where a row becomes a preference: one dialogue, the reply that people chose, and the one they rejected.

Owns the forms of such rows: `prompt`, `chosen`, `rejected` as texts or turns (`export --format dpo`, UltraFeedback);
complete dialogues under `chosen` and `rejected` (HH-RLHF, Bai et al. 2022); and the numbered responses of PKU-SafeRLHF
(Ji et al. 2024). Knows no file, tokenizer or model. `docs/sources.md` lists the forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..types import Message, clean
from .questions import COLUMNS, column_of, question_of, system_of
from .turns import Turn, fields_of, messages, turns_in

PROMPTS = tuple(name for name in COLUMNS if name != "chosen")


@dataclass(frozen=True)
class Preference:
    """Two replies to the same dialogue, which ends in a turn of the user."""

    before: tuple[Message, ...]
    chosen: str
    rejected: str


def preference_of(row: object) -> Preference:
    """The preference in a row. Raises ValueError, with the reason, if there is none."""
    if not isinstance(row, Mapping):
        raise ValueError(f"a row is an object, not {type(row).__name__}")
    fields = fields_of(row)
    if "response_0" in fields and "response_1" in fields:
        fields |= _numbered(fields)
    (asked, chosen), (other, rejected) = (_reply(fields, name) for name in ("chosen", "rejected"))
    if asked != other:
        raise ValueError("chosen and rejected are not replies to the same dialogue")
    before = _before(fields, asked)
    if not any(message.role != "system" for message in before) or before[-1].role != "user":
        raise ValueError("what chosen and rejected reply to does not end in a turn of the user")
    if not (chosen and rejected):
        raise ValueError("one of the two replies is empty")
    if chosen == rejected:
        raise ValueError("chosen and rejected are the same")
    return Preference(before, chosen, rejected)


def _numbered(fields: Mapping[str, Any]) -> dict[str, Any]:
    """PKU-SafeRLHF's responses: the better one is chosen or, if the row does not name it, the safer one."""
    number = str(fields.get("better_response_id", fields.get("safer_response_id"))).removesuffix(
        ".0"
    )  # as pandas has it
    if number not in ("0", "1"):
        raise ValueError("neither better_response_id nor safer_response_id says 0 or 1")
    return {"chosen": fields[f"response_{number}"], "rejected": fields[f"response_{1 - int(number)}"]}


def _reply(fields: Mapping[str, Any], name: str) -> tuple[tuple[Message, ...], str]:
    """The reply under `name`, and the turns before it if the field holds them too."""
    value = fields.get(name)
    if not value:
        raise ValueError(f"no {name}" if name not in fields else f"{name} is empty")
    turns = turns_in(value, name)
    if turns is None and isinstance(value, str):
        return (), clean(value).strip()
    if not turns or turns[-1].role != "assistant":
        raise ValueError(f"{name} does not end in an assistant's turn")
    *before, reply = _stripped(turns, name)
    return tuple(before), reply.content


def _before(fields: Mapping[str, Any], asked: tuple[Message, ...]) -> tuple[Message, ...]:
    """All turns before the reply. `asked`, those in the reply's own field, may be all of them or the last ones."""
    if not asked or asked[0].role == "assistant":
        return (*_prompt(fields), *asked)
    if (system := system_of(fields)) and asked[0].role != "system":
        return (Message(role="system", content=system), *asked)
    return asked


def _prompt(fields: Mapping[str, Any]) -> tuple[Message, ...]:
    prompt = {name: value for name, value in fields.items() if name not in ("chosen", "rejected")}
    if not any(prompt.get(name) for name in PROMPTS):
        raise ValueError("no prompt that chosen and rejected reply to")
    name = column_of(prompt)
    turns = turns_in(prompt[name], name) or []
    if turns and turns[-1].role == "assistant" and turns[-1].content.strip():
        raise ValueError(f"{name} ends in an assistant's turn, which chosen and rejected can't reply to")
    return tuple(question_of(prompt, name).messages())


def _stripped(turns: list[Turn], name: str) -> list[Message]:
    return [Message(role=each.role, content=each.content.strip()) for each in messages(turns, name)]
