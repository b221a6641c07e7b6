"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

import asyncio
import io
import json
import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from typer.exceptions import TyperException

from .errors import InputError, MatrixAlignError

if TYPE_CHECKING:
    from .types import Question, Settings

T = TypeVar("T")


class Format(StrEnum):
    sft = "sft"
    dpo = "dpo"
    sharegpt = "sharegpt"
    scenes = "scenes"


class Engine(StrEnum):
    local = "local"
    ray = "ray"


# Settings that suit the embedded model: on two cores, long prompts and long answers are what takes the time.
EMBEDDED = {"max_tokens": 160, "temperature": 0.3, "memory": 2000}
SOURCES = (
    "A .jsonl, .json, .csv or .txt file (also .gz), a .parquet file, advbench, harmfulqa, hh-rlhf, pku-saferlhf, or "
    "hf:OWNER/NAME[:SPLIT[:COLUMN]]."
)
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

Roles = Annotated[int, typer.Option(help="Parties beside the one who asks, 1 to 20: people, institutions, objects.")]
Steps = Annotated[int, typer.Option(help="Steps of the plan that is acted out, 1 to 20.")]
ModelName = Annotated[str | None, typer.Option(help="Name of the model there; without --endpoint, a GGUF file.")]
Seed = Annotated[int, typer.Option(help="Another seed, another scene.")]
Temperature = Annotated[
    float | None, typer.Option(help="0 is the likeliest reply each time; 0.7, or 0.3 without --endpoint.")
]
AnswerTokens = Annotated[int | None, typer.Option(help="Longest answer, in tokens: 1024, or 160 without --endpoint.")]
Memory = Annotated[
    int | None, typer.Option(help="Past events a prompt holds, in characters: 6000, or 2000 without --endpoint.")
]


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


@app.command()
def simulate(
    question: Annotated[str, typer.Argument(help="What a user would ask; - reads it from standard input.")] = "",
    roles: Roles = 5,
    steps: Steps = 5,
    endpoint: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server.")] = None,
    model: ModelName = None,
    seed: Seed = 0,
    temperature: Temperature = None,
    answer_tokens: AnswerTokens = None,
    memory: Memory = None,
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
    settings = _settings(bool(endpoint), roles, steps, seed, temperature, answer_tokens, memory)
    asyncio.run(_simulate(_question(question, chat), settings, endpoint, model, store, as_json))


def _settings(
    endpoint: bool, roles: int, steps: int, seed: int, temperature: float | None, tokens: int | None, memory: int | None
) -> "Settings":
    from .types import Settings

    chosen = {"temperature": temperature, "max_tokens": tokens, "memory": memory}
    given = {name: value for name, value in chosen.items() if value is not None}
    return _checked(Settings, roles=roles, steps=steps, seed=seed, **({} if endpoint else EMBEDDED) | given)


async def _simulate(
    question: "Question",
    settings: "Settings",
    endpoint: str | None,
    model: str | None,
    store: Path | None,
    as_json: bool,
) -> None:
    from .models import opened
    from .show import Stage
    from .simulation.scene import play
    from .store import Recorded, Store, default_path

    stage, began = None if as_json else Stage(), time.monotonic()
    with Store(store or default_path()) as record:
        async with opened(endpoint, model) as asked:
            scene = None
            try:
                async for scene in play(question, Recorded(asked, record), settings):
                    if stage and not scene.error:  # that goes to standard error
                        stage.show(scene)
            finally:
                if scene and scene.calls:  # nothing was played where no call was answered
                    record.save(scene)
        if as_json and scene:
            _print_json(scene.model_dump_json())
        elif stage and scene:
            stage.figures(scene, time.monotonic() - began)


@app.command()
def generate(
    context: typer.Context,
    sources: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE]...", help=SOURCES)] = None,
    out: Annotated[Path, typer.Option(help="The run: a folder with run.toml and the record.")] = ...,  # type: ignore[assignment]
    column: Annotated[str | None, typer.Option(help="Field of the rows that holds the question.")] = None,
    category: Annotated[
        str, typer.Option(help="What the questions are: helpful or harmful. Goes before what rows say.")
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many questions of the sources.")] = None,
    shuffle: Annotated[int | None, typer.Option(help="Take the questions in an order drawn from this seed.")] = None,
    roles: Roles = 5,
    steps: Steps = 5,
    endpoint: Annotated[
        list[str] | None, typer.Option(help="URL of an OpenAI-compatible server; several share the scenes.")
    ] = None,
    model: ModelName = None,
    seed: Seed = 0,
    temperature: Temperature = None,
    answer_tokens: AnswerTokens = None,
    memory: Memory = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Scenes at once on each server; else as many as it takes.")
    ] = None,
    sequential: Annotated[bool, typer.Option("--sequential", help="One call at a time, for debugging.")] = False,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Stop after so many tokens, read or written.")] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Stop at this cost, in the currency of --prices.")
    ] = None,
    prices: Annotated[
        str | None, typer.Option(metavar="READ,WRITTEN", help="Price of a million tokens, read and written.")
    ] = None,
    max_time: Annotated[str | None, typer.Option(help="Stop after this time: 90s, 30m, 8h.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Play the scenes that failed, no others.")
    ] = False,
    engine: Annotated[Engine, typer.Option(help="Where the scenes are played.")] = Engine.local,
    as_json: AsJson = False,
) -> None:
    """Play a scene for every question of the SOURCEs, into the run OUT.

    The same command again goes on where it stopped; without a SOURCE, with what the run still holds. Ctrl-C and the
    limits of tokens, cost and time stop it after the calls under way. Exit status 1: not one scene was done.
    """
    from .batch import INTERRUPT, Batch, budget
    from .run import Run

    if category not in ("", "helpful", "harmful"):
        raise InputError(f"--category is helpful or harmful (got {category})")
    if not sources and (
        given := [name for name in ("column", "category", "limit", "shuffle") if _typed(context, name)]
    ):
        raise InputError(f"--{given[0]} says how to read a SOURCE, and none is given")
    settings = _settings(bool(endpoint), roles, steps, seed, temperature, answer_tokens, memory)
    if not sources or Run.described(out):  # as the run was made, but for what is asked for now, which it may refuse
        asked = {name: getattr(settings, name) for name in type(settings).model_fields if _typed(context, name)}
        settings = Run.settings_in(out).model_copy(update=asked)
    batch = Batch(
        out=out,
        sources=tuple(sources or ()),
        column=column,
        category=category,  # type: ignore[arg-type]
        limit=limit,
        shuffle=shuffle,
        settings=settings,
        endpoints=tuple(endpoint or ()),
        model=model,
        concurrency=concurrency,
        sequential=sequential,
        retry_failed=retry_failed,
        tally=budget(max_tokens, max_cost, prices, max_time),
    )
    counts = asyncio.run(batch.play(on_ray=engine is Engine.ray))
    tally = batch.tally
    if as_json:
        usage = tally.usage.model_dump(include={"prompt", "cached", "generated"})
        told = {"inputs": counts, "total": sum(counts.values()), "calls": tally.calls, "tokens": usage}
        _print_json(json.dumps({**told, "seconds": round(tally.seconds, 1), "stopped": tally.stop}))
    if tally.stop == INTERRUPT:
        raise KeyboardInterrupt
    if not tally.stop and not counts.get("done"):
        raise typer.Exit(1)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run that `generate` has made.")],
    out: Annotated[
        Path, typer.Option(help="File to write, .jsonl or .parquet, or .json for sharegpt; its card goes beside.")
    ] = ...,  # type: ignore[assignment]
    format: Annotated[
        Format, typer.Option(help="sft: messages; dpo: prompt, chosen, rejected; sharegpt: conversations; scenes.")
    ] = Format.sft,
    mix: Annotated[str, typer.Option(help="Shares of the rows, as helpful=1,harmful=1,simulation=1.")] = "",
    test: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the questions for a test file.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Draws the rows of --mix and the questions of --test.")] = 0,
    push: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Publish the folder of OUT on the hub.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write the scenes of a RUN as training data, with a data card that `datasets` reads."""
    from .export import export as write
    from .run import Run

    shares = _shares(mix)
    if not Run.described(run):
        raise InputError(f"{run} holds no run; `matrix-align generate SOURCE --out {run}` makes one")
    with Run.there(run) as opened:
        counts = write(opened, out, format.value, shares, test, seed)
    if push:
        from .publish import publish

        files = [out.name, f"{out.stem}-test{out.suffix}"] if test else [out.name]
        publish(out.parent, files, push)
    told = {split: {"rows": count.rows, **count.kinds} for split, count in sorted(counts.items(), reverse=True)}
    if as_json:
        _print_json(json.dumps(told))
    else:
        for split, kinds in told.items():
            took = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
            left_out = counts[split].left_out
            typer.echo(f"{split}: {took}{f'; left out: {left_out:,}' if left_out else ''}", err=True)


def _typed(context: typer.Context, setting: str) -> bool:
    """Whether the option was given on the command line."""
    source = context.get_parameter_source("answer_tokens" if setting == "max_tokens" else setting)
    return source is not None and source.name == "COMMANDLINE"


def _shares(mix: str) -> dict[str, float]:
    from .export import KINDS

    shares = {}
    for part in mix.split(",") if mix else ():
        kind, _, share = part.partition("=")
        try:
            shares[kind.strip()] = float(share)
        except ValueError:
            share = "nan"
        if kind.strip() not in KINDS or not 0 <= float(share) <= 1e6:
            raise InputError(f"--mix is like helpful=1,harmful=1,simulation=1 (got {mix})")
    return shares


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
        name = name.replace("--max-tokens", "--answer-tokens")  # in `generate`, --max-tokens is what all may take
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
    from .store import Store

    with Store(_existing(store)) as record:
        rows = record.scenes(limit)
    if as_json:
        _print_json(json.dumps([row._asdict() for row in rows]))
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
    from .store import Store

    with Store(_existing(store)) as record:
        scene = record.scene(id) if id else None
    if scene is None:
        raise InputError(
            f"there is not exactly one scene whose id begins with {id!r}; `matrix-align scenes` lists them"
        )
    if as_json:
        _print_json(scene.model_dump_json())
        return
    stage = Stage()
    stage.show(scene)
    stage.figures(scene)


def _print_json(text: str) -> None:
    """JSON is UTF-8, whatever the terminal's encoding is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode() + b"\n")


def _existing(store: Path | None) -> Path:
    """The record to be read; looking makes none."""
    from .store import default_path

    if not (path := store or default_path()).exists():
        raise InputError(
            f"there is no record {path} yet; `matrix-align simulate QUESTION` makes one, --store names another"
        )
    return path


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
        _leave("stopped; completed calls are kept, the same command goes on from there", INTERRUPTED)


def _leave(message: str, code: int) -> None:
    line = " ".join(message.split())
    sys.stderr.write(f"matrix-align: {line}\n")
    sys.exit(code)
