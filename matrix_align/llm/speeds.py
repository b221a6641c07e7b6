"""How fast each model was when it was last served here: a number in our cache, for people who choose a model.

It is what the server wrote a second while at least one request was under way, the reading of prompts included. So it
depends on what was asked, and is no benchmark.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from .weights import cache_dir

FILE = "speeds.json"
ENOUGH = 200  # tokens; fewer say little


def note(digest: str, tokens: int, seconds: float) -> None:
    """Notes the speed of the weights `digest`, if so many tokens say something. A disk that is full does no harm."""
    if tokens < ENOUGH or seconds <= 0:
        return
    path = cache_dir() / FILE
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{FILE}.{os.getpid()}.part")
        part.write_text(json.dumps({**noted(), digest: round(tokens / seconds, 1)}, indent=1), encoding="utf-8")
        part.replace(path)


def noted() -> dict[str, float]:
    """Tokens a second, by the digest of the weights. What can't be read is not noted."""
    with suppress(OSError, ValueError):
        found = json.loads((cache_dir() / FILE).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return {digest: speed for digest, speed in found.items() if isinstance(speed, int | float)}
    return {}
