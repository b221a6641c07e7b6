"""Gives standard output an error of its own: a failed write raises OutputError, unlike a failed write to a file."""

import io
import os
import sys


class OutputError(Exception):
    """A write to standard output failed. The cause is an OSError; BrokenPipeError if the reader has left."""


class _Descriptor(io.FileIO):
    def write(self, data, /):  # type: ignore[no-untyped-def]  # bytes, or any object with a buffer
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error.strerror) from error


def watch() -> None:
    """Makes standard output raise OutputError. Leaves it alone if it has no plain descriptor (a Windows console)."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        return
    raw = getattr(stream.buffer, "raw", stream.buffer)  # the buffer itself if Python runs unbuffered
    if type(raw) is not io.FileIO:
        return
    stream.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(raw.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )


def discard() -> None:
    """Drops all output that is still to be written, now and at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
