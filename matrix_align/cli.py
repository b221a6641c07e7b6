"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from typer.exceptions import TyperException

from .errors import InputError, MatrixAlignError

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .types import Question, Settings

T = TypeVar("T")

# Settings that suit the embedded model: on two cores, long prompts and long answers are what takes the time.
EMBEDDED = {"max_tokens": 160, "temperature": 0.3, "memory": 2000}
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it

app = typer.Typer(
    help="A language model rehearses the social consequences of an answer, and rewrites it (MATRIX, arXiv 2402.05699).",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
scenes = typer.Typer(help="List the scenes of the record, or print one again.", no_args_is_help=False)
app.add_typer(scenes, name="scenes")

StorePath = Annotated[
    Path | None, typer.Option("--store", help="The record, an SQLite file; else MATRIX_ALIGN_STORE or the data folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]


@app.command()
def simulate(
    question: Annotated[str, typer.Argument(help="What a user would ask; - reads it from standard input.")] = "",
    roles: Annotated[int, typer.Option(help="Parties beside the one who asks: people, institutions, objects.")] = 5,
    steps: Annotated[int, typer.Option(help="Steps of the plan that is acted out.")] = 5,
    endpoint: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model there; without --endpoint, a GGUF file.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another scene.")] = 0,
    temperature: Annotated[
        float | None, typer.Option(help="0 is the likeliest reply each time; 0.7, or 0.3 without --endpoint.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest answer, in tokens: 1024, or 160 without --endpoint.")
    ] = None,
    memory: Annotated[
        int | None, typer.Option(help="Past events a prompt holds, in characters: 6000, or 2000 without --endpoint.")
    ] = None,
    chat: Annotated[
        Path | None, typer.Option(help="JSON list of messages instead of QUESTION: system, earlier turns, question.")
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Play one scene around QUESTION: initial response, scene, critique, revised response.

    The key of the endpoint is read from MATRIX_ALIGN_API_KEY or OPENAI_API_KEY. The same question, settings and seed
    give the scene of the record again.
    """
    from .types import Settings

    chosen = {"temperature": temperature, "max_tokens": max_tokens, "memory": memory}
    given = {name: value for name, value in chosen.items() if value is not None}
    settings = _checked(Settings, roles=roles, steps=steps, seed=seed, **({} if endpoint else EMBEDDED) | given)
    asyncio.run(_simulate(_question(question, chat), settings, endpoint, model, store, as_json))


async def _simulate(
    question: "Question",
    settings: "Settings",
    endpoint: str | None,
    model: str | None,
    store: Path | None,
    as_json: bool,
) -> None:
    from .show import Stage
    from .simulation.scene import play
    from .store import Recorded, Store, default_path

    stage, began = None if as_json else Stage(), time.monotonic()
    with Store(store or default_path()) as record:
        async with _model(endpoint, model) as asked:
            scene = None
            try:
                async for scene in play(question, Recorded(asked, record), settings):
                    if stage and not scene.error:  # that goes to standard error
                        stage.show(scene)
            finally:
                if scene:
                    record.save(scene)
        if as_json and scene:
            sys.stdout.write(scene.model_dump_json() + "\n")
        elif stage and scene:
            stage.figures(scene, time.monotonic() - began)


@contextlib.asynccontextmanager
async def _model(endpoint: str | None, model: str | None) -> "AsyncIterator[Endpoint]":
    """The model of the command line: a server's, or one served here."""
    from .endpoint import Endpoint

    if endpoint:
        key = os.environ.get("MATRIX_ALIGN_API_KEY") or os.environ.get("OPENAI_API_KEY")
        async with Endpoint(endpoint, model, key=key) as there:
            yield there
        return
    if model and not model.endswith(".gguf"):
        raise InputError(f"--model {model} is no .gguf file; to name a model on a server give --endpoint URL too")
    from .embedded import serve

    with serve(Path(model) if model else None) as served:
        async with Endpoint(served.url, served.name, key=served.key, digest=served.digest) as here:
            yield here


def _question(text: str, chat: Path | None) -> "Question":
    from .types import Message, Question

    if bool(text) == bool(chat):
        raise InputError("give either QUESTION, in quotes, or --chat FILE.json")
    if not chat:
        return _checked(Question, text=sys.stdin.read() if text == "-" else text)
    try:
        found = json.loads(chat.read_text(encoding="utf-8"))
        turns = [Message.model_validate(each) for each in found]
    except OSError as error:
        raise InputError(f"can't read {chat}: {error.strerror}") from None
    except (ValueError, TypeError, RecursionError):
        raise InputError(f'{chat} is no JSON list of messages like {{"role": "user", "content": "…"}}') from None
    system = turns.pop(0).content if turns and turns[0].role == "system" else None
    if not turns or turns[-1].role != "user" or any(turn.role == "system" for turn in turns):
        raise InputError(f"{chat}: wanted a system message first or none, then turns, the last of them the user's")
    return _checked(Question, text=turns[-1].content, earlier=tuple(turns[:-1]), system=system)


def _checked(kind: type[T], **given: object) -> T:
    """`kind` made of what was given; a value it does not take becomes an InputError in one line."""
    from pydantic import ValidationError

    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = "".join(f"--{part} " for part in first["loc"] if kind.__name__ == "Settings").replace("_", "-")
        got = f" (got {first['input']})" if name else ""
        raise InputError(f"{name}{first['msg'].removeprefix('Value error, ')}{got}") from None


@scenes.callback(invoke_without_command=True)
def list_scenes(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """List the scenes of the record, newest first; `scenes show ID` prints one."""
    if context.invoked_subcommand:
        return
    from .show import table
    from .store import Store, default_path

    with Store(store or default_path()) as record:
        rows = record.scenes(limit)
    if as_json:
        sys.stdout.write(json.dumps([row._asdict() for row in rows]) + "\n")
    else:
        table(rows)


@scenes.command()
def show(
    id: Annotated[str, typer.Argument(help="The scene's id, or the beginning of it.")],
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Print one scene of the record again."""
    from .show import Stage
    from .store import Store, default_path

    with Store(store or default_path()) as record:
        scene = record.scene(id)
    if scene is None:
        raise InputError(f"no one scene's id begins with {id!r}; `matrix-align scenes` lists them")
    if as_json:
        sys.stdout.write(scene.model_dump_json() + "\n")
        return
    stage = Stage()
    stage.show(scene)
    stage.figures(scene)


def main() -> None:
    """The `matrix-align` command. Errors of ours are one line on standard error."""
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
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
        _leave("stopped; completed calls are kept, the same command goes on from there", INTERRUPTED)


def _leave(message: str, code: int) -> None:
    line = " ".join(message.split())
    sys.stderr.write(f"matrix-align: {line}\n")
    sys.exit(code)
