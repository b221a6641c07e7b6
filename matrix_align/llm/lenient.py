"""JSON as models and clients write it: a text may hold half of a surrogate pair. Knows no HTTP."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json


def parsed(text: str | bytes) -> Any:
    """The JSON in `text`. Raises ValueError, and RecursionError if it is nested too deeply."""
    try:
        return from_json(text)
    except ValueError:  # slower, but accepts a lone surrogate
        return json.loads(text)
