"""models: lists the models that can be named, or fetches one and says where it lies."""

import json
from typing import Annotated

import typer

from .options import AsJson, print_json


def models(
    name: Annotated[str, typer.Argument(help="Model to fetch, as --model takes it.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the built-in models and the GGUF files in the caches, or fetch the model NAME.

    A model that was fetched once needs no network afterwards. "fits here" is about the memory that is free now.
    """
    from ..llm.models import listed
    from ..llm.weights import weights_of

    if name:
        weights = weights_of(name)
        found = {"name": weights.name, "path": str(weights.path), "digest": weights.digest, "source": weights.source}
        if as_json:
            print_json(json.dumps(found))
        else:
            typer.echo(weights.path)
        return
    rows = listed()
    if as_json:
        print_json(json.dumps([row._asdict() for row in rows]))
        return
    from rich.console import Console
    from rich.table import Table

    from ..llm.disk import size

    table = Table("model", "size", "licence", "here", "fits here", "speed here", box=None, pad_edge=False)
    for row in rows:
        here, fits = ("yes" if holds else "no" for holds in (row.path, row.fits))
        speed = f"{row.speed:.0f} tokens/s" if row.speed else "not measured"
        table.add_row(row.name, size(row.size), row.licence or "?", here, fits, speed)
    Console().print(table)
