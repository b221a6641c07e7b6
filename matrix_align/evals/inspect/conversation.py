"""Questions and answers in Inspect AI's terms: a sample's conversation as a `Question`, an `Answer` as its output.

Solvers, scorers and logs share it, so that an answer looks the same whether Inspect asked for it or a run was exported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspect_ai.model import ChatMessage, ModelOutput, ModelUsage
from pydantic import ValidationError

from ...errors import InputError
from ...types import Answer, Message, Question, Usage

KEPT = "matrix_align"  # where a sample's metadata has the account, and its store the answer
ROLES = ("system", "user", "assistant")


def question_of(
    messages: str | Sequence[ChatMessage], sample: int | str, system_message: str | None = None
) -> Question:
    """A conversation as a question: its last message, the turns before it, and all system messages as one.

    `system_message` is Inspect's option of that name. Raises InputError for a conversation that no method can answer.
    """
    turns: list[Message] = []
    system = [system_message] if system_message else []
    if isinstance(messages, str):
        turns.append(Message(role="user", content=messages))
    chat: Sequence[ChatMessage] = [] if isinstance(messages, str) else messages
    for message in chat:
        blocks = [] if isinstance(message.content, str) else message.content
        if message.role not in ROLES or any(block.type not in ("text", "reasoning") for block in blocks):
            raise InputError(f"the methods answer chats of text alone; sample {sample} has other messages")
        if message.role == "system":
            system.append(message.text)
        else:
            turns.append(Message(role=message.role, content=message.text))
    if not turns or turns[-1].role != "user":
        raise InputError(f"a method answers a user's message, and sample {sample} does not end in one")
    *history, last = turns
    try:
        return Question(text=last.content, history=tuple(history), system="\n\n".join(system) or None)
    except ValidationError as error:
        raise InputError(f"sample {sample}: {error.errors()[0]['msg']}") from None


def account(answer: Answer) -> dict[str, Any]:
    """What an answer cost and how it ended, for a sample's metadata."""
    usage = answer.usage
    return {
        "id": answer.id,
        "method": answer.method,
        "settings": answer.settings,
        "state": answer.state,
        "calls": len(answer.calls),
        "depth": answer.depth,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "requests": usage.requests,
    }


def output_of(answer: Answer) -> ModelOutput:
    """The text, why it stopped, and the tokens of all calls."""
    stop = {"": "stop", "length": "max_tokens", "filter": "content_filter"}[answer.text_cut]
    output = ModelOutput.from_content(answer.model, answer.text or "", stop_reason=stop)
    output.usage = tokens(answer.usage)
    return output


def tokens(used: Usage) -> ModelUsage:
    """Our usage as Inspect's, which counts cached tokens apart."""
    return ModelUsage(
        input_tokens=used.prompt_tokens - used.cached_tokens,
        input_tokens_cache_read=used.cached_tokens,
        output_tokens=used.completion_tokens,
        total_tokens=used.prompt_tokens + used.completion_tokens,
    )
