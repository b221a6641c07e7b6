"""What the package says while it works, through the logger `matrix_align`: here, lines on standard error."""

import logging
import sys
from contextlib import suppress


class Lines(logging.Handler):
    """Writes to what standard error is at the time: a progress bar on a terminal takes its place."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # nobody reads it
            sys.stderr.write(f"matrix-align: {record.getMessage()}\n")


def show_log() -> None:
    logger = logging.getLogger("matrix_align")
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [Lines()]
