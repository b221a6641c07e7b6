"""Standard output, told apart from files: what can't be written there is an OutputError, and no OSError."""

import io
import os
import sys


class OutputError(Exception):
    """Standard output can't be written. Its cause is an OSError: BrokenPipeError where the reader has left."""


class _Descriptor(io.FileIO):
    def write(self, data, /):  # type: ignore[no-untyped-def]  # bytes, or whatever has a buffer
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error.strerror) from error


def watch() -> None:
    """Makes standard output raise OutputError. One that is no plain descriptor (a Windows console) stays as it is."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        return
    raw = getattr(stream.buffer, "raw", stream.buffer)  # the buffer itself where Python runs unbuffered
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
    """Lets what is still to be written go nowhere, now and at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
