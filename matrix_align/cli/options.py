"""What several commands share: options, settings made of them, JSON on standard output."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..methods import Setup

T = TypeVar("T")

# Settings that suit the embedded model: on two cores, long prompts and long answers are what takes the time.
EMBEDDED = {"max_tokens": 160, "temperature": 0.3, "memory": 2000}

# The fields of settings and sampling, as the command line calls them: in `generate`, --max-tokens is what all may take.
OPTIONS = {name: f"--{name}" for name in ("roles", "steps", "memory", "seed", "temperature")}
OPTIONS["max_tokens"] = "--answer-tokens"

SOURCES = (
    "A .jsonl, .json, .csv, .tsv or .txt file (also .gz), a .parquet file, advbench, harmfulqa, hh-rlhf, pku-saferlhf, "
    "xstest, or hf:OWNER/NAME[:SPLIT[:COLUMN]]."
)

THERE: dict[str, Any] = {"exists": True, "dir_okay": False}  # a file, looked for before libraries are loaded

StorePath = Annotated[
    Path | None, typer.Option("--store", help="The record, an SQLite file; else MATRIX_ALIGN_STORE or the data folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]

Roles = Annotated[int, typer.Option(help="Parties beside the one who asks, 1 to 20: people, institutions, objects.")]
Steps = Annotated[int, typer.Option(help="Steps of the plan that is acted out, 1 to 20.")]
ModelName = Annotated[str | None, typer.Option(help="Name of the model there; without --endpoint, a GGUF file.")]
Digest = Annotated[
    str | None, typer.Option(help="Which weights the server has, in words of yours; else its list of models is asked.")
]
Adapter = Annotated[
    Path | None, typer.Option(help="Folder that `tune` made from the model, which is served here: the tuned model.")
]
Base = Annotated[
    str, typer.Option(help="The model to tune: embedded, a GGUF file, a folder of weights, or a name on the hub.")
]
Seed = Annotated[int, typer.Option(help="Another seed, another answer.")]
Temperature = Annotated[
    float | None, typer.Option(help="0 is the likeliest reply each time; 0.7, or 0.3 without --endpoint.")
]
AnswerTokens = Annotated[int | None, typer.Option(help="Longest answer, in tokens: 1024, or 160 without --endpoint.")]
Memory = Annotated[
    int | None, typer.Option(help="Past events a prompt holds, in characters: 6000, or 2000 without --endpoint.")
]


def setup_of(
    endpoint: bool,
    seed: int,
    temperature: float | None,
    answer_tokens: int | None,
    method: str = "matrix",
    **settings: int | None,
) -> "Setup":
    """A method with its `settings`, and its sampling. None is what suits the model: one here, or one at an endpoint."""
    from ..methods import METHODS, Setup
    from ..types import Sampling

    if method not in METHODS:
        raise InputError(f"--method is one of {', '.join(METHODS)} (got {method})")
    suiting = {} if endpoint else EMBEDDED
    options = {"seed": seed, "temperature": temperature, "max_tokens": answer_tokens, **settings}
    given = suiting | {name: value for name, value in options.items() if value is not None}

    def made(kind: type[T]) -> T:
        return checked(kind, **{name: given[name] for name in kind.model_fields if name in given})  # type: ignore[attr-defined]

    return Setup(METHODS[method], made(METHODS[method].settings), made(Sampling))


def typed(context: typer.Context, setting: str) -> bool:
    """Whether the option was given on the command line."""
    source = context.get_parameter_source("answer_tokens" if setting == "max_tokens" else setting)
    return source is not None and source.name == "COMMANDLINE"


def checked(kind: type[T], **given: object) -> T:
    """`kind` made of what was given; a value it does not take becomes an InputError in one line."""
    from pydantic import ValidationError

    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        option = OPTIONS.get(str(first["loc"][0]), "")
        got = f" (got {first['input']})" if option else ""
        raise InputError(f"{option} {first['msg'].removeprefix('Value error, ')}{got}".strip()) from None


def print_json(text: str) -> None:
    """JSON is UTF-8, whatever the terminal's encoding is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode() + b"\n")
