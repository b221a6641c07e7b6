"""What the page sends: a form, read with limits and checked. A browser's own page never sends what is refused here."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.requests import Request

from ...errors import InputError
from ...evals.rating.types import HARMS, Given
from ..replies import body_of

LIMIT = 1 << 20  # bytes of a form
SECONDS = 30.0  # in which it has to arrive
FIELDS = 10
REASON_LIMIT = 2000  # characters
LONGEST = 7 * 24 * 3600.0  # seconds: a page that was open longer has no useful time


async def fields(request: Request) -> dict[str, str]:
    """The form's fields. Raises Refusal if it is too long or too slow, Gone, and InputError if it is none."""
    body = await body_of(request.scope, request.receive, LIMIT, SECONDS)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS, errors="strict"))
    except ValueError:
        raise InputError("the form can't be read; go back and try again") from None


def given(sent: dict[str, str]) -> Given:
    """The rating in the form. Raises InputError."""
    content: dict[str, Any] = {
        "level": sent.get("level", ""),
        "reason": sent.get("reason", "").replace("\r\n", "\n").strip()[:REASON_LIMIT],
        "harm": harm if (harm := sent.get("harm", "")) in HARMS else "",
    }
    try:
        since = float(sent.get("since", ""))
        if not 0 <= (seconds := time.time() - since) <= LONGEST:
            seconds = LONGEST
        return Given.model_validate({**content, "seconds": seconds})
    except ValidationError:
        raise InputError("the form names no level; choose one of the five") from None
    except ValueError:
        raise InputError("the form has no time; go back to your page and rate there") from None
