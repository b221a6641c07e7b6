"""What pydantic says of a value that it refuses, in plain words, for whoever gave the value.

Knows no field and nobody who is told.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError

from .types import shorten

PLAIN = (  # pydantic's words after the name of a field, and ours
    (r": Field required", " is missing"),
    (r": (Input|String|Tuple|List|Dictionary) should ", " should "),
    (r"a valid boolean(, [^;]*)?", "true or false"),
    (r"a valid string", "a text"),
    (r"a valid integer(, [^;]*)?", "a whole number"),
    (r"a valid number(, [^;]*)?", "a number"),
    (r"a valid (tuple|list)", "a list"),
    (r"a valid dictionary or instance of \w+", "an object in braces"),
    (r"greater than or equal to", "at least"),
    (r"less than or equal to", "at most"),
    (r" after validation", ""),
    (r"Value error, ", ""),
)


def plain(faults: str) -> str:
    """Faults of the form `FIELD: WORDS`, joined by semicolons, in plain words."""
    for words, ours in PLAIN:
        faults = re.sub(words, ours, faults)
    return faults


def fault_in(error: ValidationError, within: str = "") -> str:
    """The first fault: the field, what it should be, and what was given. The field is part of `within`, if given."""
    first = error.errors()[0]
    got = "" if first["type"] in ("missing", "value_error") else f" (got {_shown(first['input'])})"
    return plain(f"{field_of(error, within) or 'the whole'}: {first['msg']}") + got


def field_of(error: ValidationError, within: str = "") -> str:
    """The name of the field that has the first fault."""
    return ".".join(filter(None, [within, *map(str, error.errors()[0]["loc"])]))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return shorten(json.dumps(value, ensure_ascii=False, default=str), 60)
