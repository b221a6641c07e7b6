"""What a server's chat completion says: the model's text, its reasoning, how it ended, and what it cost.

Owns every form that servers give a completion. Knows no HTTP and no reply type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..types import Usage, clean
from .structured import split_reasoning


@dataclass(frozen=True)
class Completion:
    """One reply of a server. `finish` is its own word for how the text ended, empty where it says nothing."""

    text: str
    reasoning: str
    finish: str
    usage: Usage

    @property
    def cut(self) -> bool:
        """Whether the text ended at its longest length."""
        return self.finish == "length"


def read(body: Any) -> Completion:
    """The completion in a body; whatever is missing or of a wrong type is empty."""
    reasoning, text, finish = _content(body)
    return Completion(text, reasoning, finish, _usage(body))


def _content(body: Any) -> tuple[str, str, str]:
    """(reasoning, answer, finish reason) of a chat completion; anything missing or of a wrong type is empty."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
        finish = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return "", "", ""
    if not isinstance(message, dict):
        return "", "", ""
    content = message.get("content") or message.get("refusal") or ""
    if isinstance(content, list):  # of parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    thought, answer = split_reasoning(clean(content if isinstance(content, str) else ""))
    fields = (message.get(name) for name in ("reasoning_content", "reasoning"))
    told = [clean(each) for each in fields if isinstance(each, str)]
    return "\n".join([*told[:1], thought]).strip(), answer, finish if isinstance(finish, str) else ""


def _usage(body: Any) -> Usage:
    found = body.get("usage") if isinstance(body, dict) else None
    counts = found if isinstance(found, dict) else {}
    details = counts.get("prompt_tokens_details")

    def count(value: Any) -> int:
        return value if isinstance(value, int) and value > 0 else 0

    return Usage(
        prompt_tokens=count(counts.get("prompt_tokens")),
        cached_tokens=count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
        completion_tokens=count(counts.get("completion_tokens")),
        requests=1,
    )
