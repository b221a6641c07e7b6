"""What several commands share: options, settings made of them, JSON on standard output."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..types import Settings

T = TypeVar("T")

# Settings that suit the embedded model: on two cores, long prompts and long answers are what takes the time.
EMBEDDED = {"max_tokens": 160, "temperature": 0.3, "memory": 2000}

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
Adapter = Annotated[
    Path | None, typer.Option(help="Folder that `tune` made from the model, which is served here: the tuned model.")
]
Base = Annotated[
    str, typer.Option(help="The model to tune: embedded, a GGUF file, a folder of weights, or a name on the hub.")
]
Seed = Annotated[int, typer.Option(help="Another seed, another scene.")]
Temperature = Annotated[
    float | None, typer.Option(help="0 is the likeliest reply each time; 0.7, or 0.3 without --endpoint.")
]
AnswerTokens = Annotated[int | None, typer.Option(help="Longest answer, in tokens: 1024, or 160 without --endpoint.")]
Memory = Annotated[
    int | None, typer.Option(help="Past events a prompt holds, in characters: 6000, or 2000 without --endpoint.")
]


def settings_of(
    endpoint: bool, roles: int, steps: int, seed: int, temperature: float | None, tokens: int | None, memory: int | None
) -> "Settings":
    from ..types import Settings

    chosen = {"temperature": temperature, "max_tokens": tokens, "memory": memory}
    given = {name: value for name, value in chosen.items() if value is not None}
    return checked(Settings, roles=roles, steps=steps, seed=seed, **({} if endpoint else EMBEDDED) | given)


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
        name = "".join(f"--{part} " for part in first["loc"] if kind.__name__ == "Settings").replace("_", "-")
        name = name.replace("--max-tokens", "--answer-tokens")  # in `generate`, --max-tokens is what all may take
        got = f" (got {first['input']})" if name else ""
        raise InputError(f"{name}{first['msg'].removeprefix('Value error, ')}{got}") from None


def print_json(text: str) -> None:
    """JSON is UTF-8, whatever the terminal's encoding is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode() + b"\n")
