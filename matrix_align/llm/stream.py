"""A chat completion that a server sends in pieces: server-sent events, put together into the body of a whole one.

Knows no reply type, and not who reads along.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from .lenient import parsed

STREAMED = {"stream": True, "stream_options": {"include_usage": True}}  # fields of a request


async def whole(lines: AsyncIterator[bytes], hear: Callable[[str], None]) -> str | None:
    """The body of the completion, as JSON, once the last event has come; None if the server broke off before it.

    `hear` is called with the text so far each time it has grown. An event that reports an error is returned itself.
    """
    texts: dict[str, str] = {"content": "", "reasoning_content": "", "refusal": ""}
    choice: dict[str, Any] = {}
    body: dict[str, Any] = {}
    async for line in lines:
        name, _, data = line.strip().partition(b":")
        if name != b"data":
            continue  # a comment, an event's name, or the empty line between two events
        if data.strip() == b"[DONE]":
            break
        event = _object(data)
        if event.get("error"):
            return json.dumps(event)
        if isinstance(usage := event.get("usage"), dict):
            body["usage"] = usage
        choices = event.get("choices")
        first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        choice.update({field: value for field, value in first.items() if field != "delta" and value is not None})
        delta = first.get("delta")
        if not isinstance(delta, dict):
            continue
        for field in texts:
            piece = delta.get(field) or (delta.get("reasoning") if field == "reasoning_content" else None)
            if isinstance(piece, str) and piece:
                texts[field] += piece
                if field == "content":
                    hear(texts[field])
    else:
        if not choice.get("finish_reason"):
            return None
    message = {"role": "assistant", **{field: text for field, text in texts.items() if text}}
    return json.dumps({**body, "choices": [{**choice, "message": message}]})


def _object(data: bytes) -> dict[str, Any]:
    try:
        event = parsed(data)
    except (ValueError, RecursionError):
        event = None
    return event if isinstance(event, dict) else {"error": {"message": "the server sent an event that is no JSON"}}
