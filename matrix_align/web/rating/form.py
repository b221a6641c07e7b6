"""What the page sends, checked. A browser's own page never sends what is refused here."""

from __future__ import annotations

import time
from typing import Any

from pydantic import ValidationError

from ...errors import InputError
from ...evals.rating.types import HARMS, Given

REASON_LIMIT = 2000  # characters
LONGEST = 7 * 24 * 3600.0  # seconds: a page that was open longer has no useful time


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
