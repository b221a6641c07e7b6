"""What a server's own list of models says of one: its name, and what tells its weights from others of that name.

Owns every form that servers give such a list. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

from ..types import clean

# What tells one model from another: the weights' own digest, where they are, what they are like. `created` only where
# none of the first is given: some servers put there when they were started, and that changes with the same weights.
# So does the context that a server gives them (`max_model_len`): who makes it longer, goes on with the same run.
TELLING = ("digest", "sha256", "hash", "revision", "root", "parent", "meta")
BESIDE = ("details", "size", "quantization", "owned_by")
WHEN = ("created", "modified_at")
CLOCK = 10.0  # seconds: a time so near to the answer's own is that of the answer (vLLM, SGLang, llama.cpp)


def entries(body: Any) -> dict[str, dict[str, Any]]:
    """The models of a list by name: `data`, `models` or the body itself; of strings, or objects with a name.

    What several lists of one body say of a model is put together, as llama.cpp needs it.
    """
    lists = [body.get("models"), body.get("data")] if isinstance(body, dict) else [body]
    found: dict[str, dict[str, Any]] = {}
    for listed in lists:
        for each in listed if isinstance(listed, list) else ():
            fields = each if isinstance(each, dict) else {"id": each}
            names = (fields.get(field) for field in ("id", "name", "model"))
            if name := next((clean(name) for name in names if isinstance(name, str) and name), ""):
                found.setdefault(name, {}).update({key: value for key, value in fields.items() if value})
    return found


def known_by(models: dict[str, dict[str, Any]], name: str, date: str | None) -> dict[str, Any]:
    """What identifies the model `name`, empty where the list says nothing. `date` is the header of the same answer."""
    entry = models.get(name) or models.get(f"{name}:latest") or {}  # Ollama's tag
    fields = {field: entry[field] for field in (*TELLING, *BESIDE) if field in entry}
    if not any(field in entry for field in TELLING):
        fields |= {field: entry[field] for field in WHEN if field in entry and not _is_now(entry[field], date)}
    return fields


def digest_of(fields: dict[str, Any]) -> str:
    """A short digest of what identifies a model; empty for nothing."""
    if not fields:
        return ""
    canonical = json.dumps(fields, sort_keys=True)
    return f"listed:{hashlib.sha256(canonical.encode()).hexdigest()[:16]}"


def made_on_a_server(digest: str) -> bool:
    """Whether such a digest is that of a model on a server, rather than of weights that were read."""
    return not digest or digest.startswith("listed:")


def _is_now(when: Any, date: str | None) -> bool:
    """Whether a time is just that of the answer, by the server's clock or by ours."""
    if not isinstance(when, int | float):
        return False
    clocks = [time.time()]
    with suppress(ValueError, OverflowError):
        clocks.append(parsedate_to_datetime(date or "").timestamp())
    return any(abs(when - clock) < CLOCK for clock in clocks)
