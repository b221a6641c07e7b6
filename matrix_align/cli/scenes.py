"""scenes: lists the answers of the record, or prints one."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .options import AsJson, StorePath, print_json

scenes = typer.Typer(help="List the scenes of the record, or print one.", no_args_is_help=False)


@scenes.callback(invoke_without_command=True)
def list_scenes(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many scenes to list.")] = 20,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """List the scenes of the record, the newest first."""
    if context.invoked_subcommand:
        return
    from ..store import Store
    from .show import table

    with Store(_existing(store), read_only=True) as record:
        rows = record.answers(limit)
    if as_json:
        print_json(json.dumps([row._asdict() for row in rows]))
    else:
        table(rows)


@scenes.command()
def show(
    id: Annotated[str, typer.Argument(help="Id of the scene, or the beginning of it.")],
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Print one scene of the record."""
    from ..store import Store
    from .show import Stage

    with Store(_existing(store), read_only=True) as record:
        answer = record.answer(id) if id else None
        ids = [] if answer else record.ids(id)
    if answer is None:
        if ids:
            raise InputError(f"several scenes' ids begin with {id!r}: {', '.join(ids)}, …; give more of one")
        raise InputError(f"no scene's id begins with {id!r}; `matrix-align scenes` lists the scenes")
    if as_json:
        print_json(answer.model_dump_json())
        return
    stage = Stage()
    stage.show(answer)
    stage.figures(answer)


def _existing(store: Path | None) -> Path:
    """The path of the record, which must exist. Raises InputError."""
    from ..store import default_path

    if not (path := store or default_path()).exists():
        raise InputError(
            f"there is no record {path} yet; `matrix-align simulate QUESTION` makes one, --store names another"
        )
    return path
