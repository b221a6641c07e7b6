"""Shared by several commands: options, the setup they describe, and reports on standard output."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ..errors import InputError
from ..llm.builtin import DEFAULT, suited_to
from .mistakes import number

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo
    from rich.console import Console

    from ..methods import Setup

T = TypeVar("T")
R = TypeVar("R", bound="BaseModel")


class Detail(StrEnum):
    brief = "brief"
    full = "full"


class Part(StrEnum):
    """What an ablation can switch off: `PARTS` of simulation/types.py, which costs too much to import for --help."""

    examples = "examples"
    words = "words"
    last_turns = "last-turns"
    gate = "gate"


# The option for each field of settings and sampling. (In `generate`, --max-tokens limits the whole run.)
SETTINGS = ("roles", "steps", "memory", "detail", "without", "rounds", "candidates", "principles", "budget")
OPTIONS = {name: f"--{name}" for name in (*SETTINGS, "seed", "temperature")}
OPTIONS["max_tokens"] = "--answer-tokens"

SOURCES = (
    "A .jsonl, .json, .csv, .tsv or .txt file (also .gz), a .parquet file, advbench, harmfulqa, hh-rlhf, pku-saferlhf, "
    "xstest, or hf:OWNER/NAME[:SPLIT[:COLUMN]]."
)

THERE: dict[str, Any] = {"exists": True, "dir_okay": False}  # a file that must exist; checked before slow imports
FOLDER: dict[str, Any] = {"file_okay": False}  # a folder, which need not exist yet

StorePath = Annotated[
    Path | None,
    typer.Option("--store", help="SQLite file of the record. Default: MATRIX_ALIGN_STORE, or the data folder."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]

ROLES = "Number of other parties in the scene: people, institutions, objects; 1 to 20."
STEPS = "Number of steps in the plan, 1 to 20."
HERE = "without --endpoint what suits the model"
SEED = "A different seed gives a different answer."
Roles = Annotated[int, typer.Option(help=ROLES)]
Steps = Annotated[int, typer.Option(help=STEPS)]
ModelName = Annotated[
    str | None,
    typer.Option(
        help="Name of the model on the server. Without --endpoint: a name that `models` lists, "
        "hf:OWNER/REPO[:QUANT|FILE.gguf][@REVISION], or a GGUF file; "
        f"{DEFAULT} if none is given."
    ),
]
Digest = Annotated[
    str | None,
    typer.Option(
        help="Your own name for the server's weights. Default: what the server's list of models says of them."
    ),
]
Adapter = Annotated[
    Path | None, typer.Option(help="Folder that `tune` made from the same model. Not with --endpoint.", **FOLDER)
]
Base = Annotated[
    str,
    typer.Option(help="Model to tune: what --model takes, a folder of weights, or a name on the hub such as a/b."),
]
Seed = Annotated[int, typer.Option(help=SEED)]
Temperature = Annotated[float | None, typer.Option(help=f"0 always takes the likeliest token. Default: 0.7; {HERE}.")]
AnswerTokens = Annotated[int | None, typer.Option(help=f"Longest answer, in tokens. Default: 1024; {HERE}.")]
Memory = Annotated[
    int | None, typer.Option(help=f"Most characters of past events in a prompt. Default: 20000; {HERE}.")
]

DetailOf = Annotated[
    Detail | None,
    typer.Option(help=f"How much the texts of a scene may say. Default: full; {HERE}."),
]
Without = Annotated[
    list[Part] | None,
    typer.Option(
        metavar="PART",
        help=f"Part of the method to switch off, to see what it does: {', '.join(Part)}. Can be given several times.",
    ),
]
Rounds = Annotated[
    int | None, typer.Option(help="Most rounds of a method that improves its answer. Default: the method's own.")
]
Candidates = Annotated[
    int | None, typer.Option(help="Answers of which a method makes its choice. Default: the method's own.")
]
Principles = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Text file of principles, one a line. Default: the method's own.", **THERE),
]
Budget = Annotated[
    int | None,
    typer.Option(
        help="Tokens, read and written, that a method may spend on one answer: it then makes as many rounds or "
        "candidates as fit. Default: 0, which sets no budget."
    ),
]


def principles_in(path: Path | None) -> tuple[str, ...] | None:
    """The lines of a file of principles, without empty ones. Raises InputError if there are none."""
    from ..types import clean

    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--principles {path} can't be read as UTF-8 text: {error}") from None
    if not (principles := tuple(filter(None, (clean(line).strip() for line in lines)))):
        raise InputError(f"--principles {path} holds no principle; write one a line")
    return principles


def known_method(name: str, option: str = "--method") -> None:
    """Raises InputError if there is no method of this name, which `option` gave."""
    from ..methods import METHODS

    if name not in METHODS:
        raise InputError(f"{option} is one of {', '.join(METHODS)} (got {name})")


def setup_of(
    endpoint: object,
    model: str | None,
    seed: int,
    temperature: float | None,
    answer_tokens: int | None,
    method: str = "matrix",
    **settings: int | str | Sequence[str] | None,
) -> "Setup":
    """A method with its settings and sampling. None means the default: at an endpoint that of `Settings` and
    `Sampling`, of a model served here what suits it. `model` is its name, None the default one.
    """
    from ..methods import METHODS, Setup
    from ..types import Sampling

    known_method(method)
    suited = {} if endpoint else asdict(suited_to(model or DEFAULT))
    options = {"seed": seed, "temperature": temperature, "max_tokens": answer_tokens, **settings}
    given = suited | {name: value for name, value in options.items() if value is not None}

    def made(kind: type[T]) -> T:
        return checked(kind, **{name: given[name] for name in kind.model_fields if name in given})  # type: ignore[attr-defined]

    return Setup(METHODS[method], made(METHODS[method].settings), made(Sampling))


def typed(context: typer.Context, setting: str) -> bool:
    """Whether the option was given on the command line."""
    source = context.get_parameter_source("answer_tokens" if setting == "max_tokens" else setting)
    return source is not None and source.name == "COMMANDLINE"


def checked(kind: type[T], **given: object) -> T:
    """An object of `kind` with these fields. A value that it rejects raises InputError, in one line."""
    from pydantic import ValidationError

    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if name not in OPTIONS:
            raise InputError(first["msg"].removeprefix("Value error, ")) from None
        wanted = _wanted(kind.model_fields[name])  # type: ignore[attr-defined]
        raise InputError(f"{OPTIONS[name]} is {wanted} (got {first['input']})") from None


def _wanted(field: "FieldInfo") -> str:
    """The numbers that a field takes, in words."""
    bounds: dict[str, float] = {}
    for constraint in field.metadata:
        bounds |= {name: getattr(constraint, name) for name in ("ge", "le", "lt") if hasattr(constraint, name)}
    high = bounds["lt"] - 1 if "lt" in bounds else bounds.get("le")
    return number(int if field.annotation is int else float, bounds.get("ge"), high)


def print_report(report: R, as_json: bool, show: "Callable[[R, Console], None]", markdown: Callable[[R], str]) -> None:
    """Prints a report: as JSON, as `show` draws it on a terminal, or as Markdown."""
    from rich.console import Console

    console = Console()
    if as_json:
        print_json(report.model_dump_json())
    elif console.is_terminal:
        show(report, console)
    else:
        typer.echo(markdown(report))


def print_json(text: str) -> None:
    """Prints `text` as UTF-8, whatever the encoding of the terminal."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode() + b"\n")
