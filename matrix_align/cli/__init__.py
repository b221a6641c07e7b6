"""The command line: parse, call, print. Each command imports its heavy libraries itself."""

import errno
import io
import sys
from contextlib import suppress
from typing import Annotated

import typer
from typer.exceptions import TyperException

from ..errors import MatrixAlignError
from . import output
from .compare import compare
from .evaluate import evaluate
from .export import export
from .generate import generate
from .iterate import iterate
from .log import show_log
from .measure import measure
from .mistakes import explained
from .models import models
from .rate import rate
from .scenes import scenes
from .serve import serve
from .simulate import simulate
from .tune import tune

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it

app = typer.Typer(
    help="A language model plays out the consequences of its answer and rewrites it (MATRIX, arXiv 2402.05699).",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (simulate, generate, export, tune, measure, evaluate, compare, iterate, serve, models):
    app.command()(command)
app.add_typer(scenes, name="scenes")
app.add_typer(rate, name="rate")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("matrix-align"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A language model plays out the consequences of its answer and rewrites it (MATRIX, arXiv 2402.05699)."""


def main() -> None:
    """The `matrix-align` command. An error of ours becomes one line on standard error."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "replace"), (sys.stderr, "replace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    output.watch()
    show_log()
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
        if code == 1:
            sys.exit(1)
    except MatrixAlignError as error:
        _leave(str(error), error.exit_code)
    except TyperException as error:
        _leave(explained(error) or "stopped", 2)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except output.OutputError as error:
        output.discard()
        if not isinstance(error.__cause__, BrokenPipeError):  # a reader that stops early is not an error
            _leave(f"can't write to standard output: {error}", 1)
        return
    except OSError as error:
        _leave(_told(error), 2)
    if code == INTERRUPTED:
        _leave("stopped; finished work is kept, and the same command resumes", INTERRUPTED)


def _told(error: OSError) -> str:
    """What failed, the file if Python names one, and what to do."""
    why = error.strerror or str(error) or type(error).__name__
    if error.errno == errno.ENOSPC:
        why += ", free some and run the same command again"
    if error.filename is None:
        return f"the system refuses: {why}"
    return f"can't use {error.filename}: {why}"


def _leave(message: str, code: int) -> None:
    line = " ".join(message.split())
    with suppress(OSError):  # standard error is closed
        sys.stderr.write(f"matrix-align: {line}\n")
    sys.exit(code)
