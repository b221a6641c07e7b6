"""Prints the messages of the logger `matrix_align` as lines on standard error."""

import logging
import sys
from contextlib import suppress


class Lines(logging.Handler):
    """Writes to the current standard error, because a progress bar on a terminal replaces it."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # standard error may be closed
            sys.stderr.write(f"matrix-align: {record.getMessage()}\n")


def show_log() -> None:
    logger = logging.getLogger("matrix_align")
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [Lines()]
