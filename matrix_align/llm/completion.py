"""What a server's chat completion holds: the model's text, its reasoning, how it ended, and its tokens.

Owns every form that servers give a completion, and every word they use for how a text ended. Knows no HTTP and no reply
type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from ..types import Cut, Usage, clean
from .reasoning import part

Ended = Literal["stop", "length", "filter", ""]

ENDINGS = ("finish_reason", "native_finish_reason", "stop_reason", "done_reason")  # fields that say how a text ended
# Servers' words for how a text ended, in lower case and without punctuation: MAX_TOKENS is maxtokens.
STOP = re.compile(r"stop|eos|endturn|endoftext|stopsequence|stoptoken|complete|completed|finished")
LENGTH = re.compile(
    r"(?:error)?limit|.*length.*|.*(?:max|limit)\w*token.*|.*token\w*(?:max|limit|budget).*|.*contextwindow.*|truncated"
)
FILTER = re.compile(
    r".*filter.*|.*safety.*|recitation|prohibited.*|.*blocklist|.*blocked.*|refus.*|spii|.*guardrail.*|.*moderat.*"
    r"|sensitive|language|(?:error)?toxic.*|.*policy.*|.*jailbreak.*"
)


@dataclass(frozen=True)
class Completion:
    """One completion from a server.

    `ended` says how the text ended. "stop": the model chose to end. "length": it ran out of tokens. "filter": a content
    filter of the server ended it. "": the server does not say.
    `stray` is a mark of reasoning, or another special token, that is left in the text. With one, it is not known which
    part of the text is the answer.
    `refused`: the model refused to fill the schema, and the text is its refusal (OpenAI).
    `inline`: the reasoning stood in the text, before the answer.
    """

    text: str
    reasoning: str
    ended: Ended
    usage: Usage
    stray: str = ""
    refused: bool = False
    inline: bool = False

    @property
    def answered(self) -> bool:
        """Whether the text is an answer, even if it was cut."""
        return bool(self.text) and not self.stray

    @property
    def cut(self) -> Cut:
        """What cut the text off, if anything did."""
        return self.ended if self.ended in ("length", "filter") else ""


def completion_of(body: Any) -> Completion:
    """The completion in a body. A part that is missing or of a wrong type is empty."""
    choice = _first(body.get("choices")) if isinstance(body, dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        return Completion("", "", _ended(choice), _usage(body))
    refused = not message.get("content") and bool(message.get("refusal"))
    content = message.get("content") or message.get("refusal") or ""
    parted = part(clean(_text(content, thoughts=False)))
    fields = [message.get(name) for name in ("reasoning_content", "reasoning", "thinking")]
    apart = next((field for field in fields if isinstance(field, str) and field), "") or _text(content, thoughts=True)
    reasoning = f"{clean(apart)}\n{parted.reasoning}".strip()
    return Completion(
        parted.answer, reasoning, _ended(choice), _usage(body), parted.stray, refused, bool(parted.reasoning)
    )


def _first(choices: Any) -> dict[str, Any]:
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else {}


def _text(content: Any, thoughts: bool) -> str:
    """The text of a message's content: of its thoughts, or of everything else.

    A content that is one string has no thoughts.
    """
    if isinstance(content, str):
        return "" if thoughts else content
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    wanted = [block for block in blocks if (block.get("type") in ("thinking", "reasoning")) == thoughts]
    texts = [block.get("text") or block.get("thinking") or block.get("reasoning") or "" for block in wanted]
    return "".join(text if isinstance(text, str) else _text(text, thoughts=False) for text in texts)


def _ended(choice: dict[str, Any]) -> Ended:
    """How the text ended. A server may give its own word for it and also the word of the model behind it."""
    words = [choice[name] for name in ENDINGS if name in choice]
    meanings = [_meaning(word) for word in words if isinstance(word, str)]
    return next((ended for ended in ("filter", "length", "stop") if ended in meanings), "")


@lru_cache(maxsize=256)
def _meaning(word: str) -> Ended:
    plain = re.sub(r"[^a-z]", "", word[:100].lower())
    if FILTER.fullmatch(plain):
        return "filter"
    if LENGTH.fullmatch(plain):
        return "length"
    return "stop" if STOP.fullmatch(plain) else ""


def _usage(body: Any) -> Usage:
    usage = body.get("usage") if isinstance(body, dict) else None
    counts = usage if isinstance(usage, dict) else {}
    details = counts.get("prompt_tokens_details")

    def count(value: Any) -> int:
        return value if isinstance(value, int) and value > 0 else 0

    return Usage(
        prompt_tokens=count(counts.get("prompt_tokens")),
        cached_tokens=count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
        completion_tokens=count(counts.get("completion_tokens")),
        requests=1,
    )
