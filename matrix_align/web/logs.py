"""The log of a running server: one JSON object a line, on standard error. Knows no route."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json


class JsonLines(logging.Handler):
    """A record's `fields`, if it has any, stand in the object in place of its message."""

    def emit(self, record: logging.LogRecord) -> None:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"at": at, "level": record.levelname.lower()}
        line |= getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info:
            line["error"] = repr(record.exc_info[1])
        with suppress(OSError):  # standard error may be closed
            sys.stderr.write(to_json(line).decode() + "\n")


def log_as_json() -> None:
    for name in ("matrix_align", "uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO if name == "matrix_align" else logging.WARNING)
        logger.handlers[:] = [JsonLines()]
