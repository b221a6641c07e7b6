"""What a server's list of models says about one model: its name, and what identifies its weights.

Owns every form that servers give the list. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

from ..types import clean

# Fields that identify a model: the weights' own digest, their place, their properties. `created` counts only if no
# field of TELLING is given: some servers put their own start time there, which changes while the weights stay the same.
# The context length (`max_model_len`) is not among the fields: a user who makes it longer continues the same run.
TELLING = ("digest", "sha256", "hash", "revision", "root", "parent", "meta")
BESIDE = ("details", "size", "quantization", "owned_by")
WHEN = ("created", "modified_at")
CLOCK = 10.0  # seconds; a time this close to the answer's own is only the answer's (vLLM, SGLang, llama.cpp)


def entries(body: Any) -> dict[str, dict[str, Any]]:
    """The models of a list, by name.

    The list is `data`, `models` or the body itself. Its entries are strings, or objects with a name. If a body has
    several lists, as llama.cpp's has, their fields for one model are merged.
    """
    lists = [body.get("models"), body.get("data")] if isinstance(body, dict) else [body]
    found: dict[str, dict[str, Any]] = {}
    for listed in lists:
        for entry in listed if isinstance(listed, list) else ():
            fields = entry if isinstance(entry, dict) else {"id": entry}
            names = (fields.get(field) for field in ("id", "name", "model"))
            if name := next((clean(name) for name in names if isinstance(name, str) and name), ""):
                found.setdefault(name, {}).update({key: value for key, value in fields.items() if value})
    return found


def is_listed(models: dict[str, dict[str, Any]], name: str) -> bool:
    return name in models or f"{name}:latest" in models  # Ollama's tag


def known_by(models: dict[str, dict[str, Any]], name: str, date: str | None) -> dict[str, Any]:
    """The fields that identify the model `name`. Empty if there are none. `date` is the same answer's Date header."""
    entry = models.get(name) or models.get(f"{name}:latest") or {}  # Ollama's tag
    fields = {field: entry[field] for field in (*TELLING, *BESIDE) if field in entry}
    if not any(field in entry for field in TELLING):
        fields |= {field: entry[field] for field in WHEN if field in entry and not _is_now(entry[field], date)}
    return fields


def digest_of(fields: dict[str, Any]) -> str:
    """A short digest of the fields that identify a model. Empty if there are none."""
    if not fields:
        return ""
    canonical = json.dumps(fields, sort_keys=True)
    return f"listed:{hashlib.sha256(canonical.encode()).hexdigest()[:16]}"


def made_on_a_server(digest: str) -> bool:
    """Whether a digest is a server's or the user's, as opposed to that of weights, and of a LoRA, that we read."""
    return not re.fullmatch("[0-9a-f]{64}(:[A-Z0-9_]+)?([+][0-9a-f]{64})?", digest)


def _is_now(when: Any, date: str | None) -> bool:
    """Whether a time is only the time of the answer, by the server's clock or by ours."""
    if not isinstance(when, int | float):
        return False
    clocks = [time.time()]
    with suppress(ValueError, OverflowError):
        clocks.append(parsedate_to_datetime(date or "").timestamp())
    return any(abs(when - clock) < CLOCK for clock in clocks)
