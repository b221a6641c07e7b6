"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

import io
import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from ..errors import MatrixAlignError
from .iterate import iterate
from .measure import measure
from .runs import export, generate
from .scenes import scenes, simulate
from .tune import tune

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it

app = typer.Typer(
    help="A language model rehearses the social consequences of an answer, and rewrites it (MATRIX, arXiv 2402.05699).",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (simulate, generate, export, tune, measure, iterate):
    app.command()(command)
app.add_typer(scenes, name="scenes")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("matrix-align"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A language model rehearses the social consequences of an answer, and rewrites it (MATRIX, arXiv 2402.05699)."""


def main() -> None:
    """The `matrix-align` command. Errors of ours are one line on standard error."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "replace"), (sys.stderr, "replace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
        if code == 1:
            sys.exit(1)
    except MatrixAlignError as error:
        _leave(str(error), error.exit_code)
    except TyperException as error:
        told = getattr(error, "format_message", error.__str__)  # with the option's name, where there is one
        _leave(told() or "stopped", 2)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more goes there, at exit either
        if not isinstance(error, BrokenPipeError):  # a reader that has seen enough is no error
            _leave(f"can't write the output: {error.strerror}", 1)
        return
    if code == INTERRUPTED:
        _leave("stopped; what is done is kept, and the same command goes on from there", INTERRUPTED)


def _leave(message: str, code: int) -> None:
    line = " ".join(message.split())
    sys.stderr.write(f"matrix-align: {line}\n")
    sys.exit(code)
