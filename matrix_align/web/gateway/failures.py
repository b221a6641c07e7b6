"""The errors of a model as OpenAI's clients expect them, with the status that the model's server gave.

Knows no request.
"""

from __future__ import annotations

import math

from ...errors import (
    BadReply,
    ContextOverflow,
    InputError,
    MatrixAlignError,
    Overloaded,
    QuotaExceeded,
    Refused,
    Unreachable,
)
from ..replies import Refusal


def refusal_of(error: MatrixAlignError) -> Refusal:
    """What the client is told of `error`."""
    words = str(error)
    status = getattr(error, "status", 0)
    status = status if 400 <= status < 600 else 502  # a server's 201 without an answer is no success of ours
    match error:
        case ContextOverflow():
            return Refusal(status, words, "context_length_exceeded", "messages")
        case QuotaExceeded():
            return Refusal(status, words, "insufficient_quota")
        case Refused():
            return Refusal(status, words)
        case Overloaded():
            return Refusal(status, words, headers={"Retry-After": str(max(1, math.ceil(error.wait)))})
        case Unreachable():
            return Refusal(504 if error.how == "silent" else 502, words, "upstream_unreachable")
        case BadReply():
            return Refusal(502, words, "unusable_reply")
        case InputError():
            return Refusal(502, words, "upstream_unusable")
    return Refusal(500, words)
