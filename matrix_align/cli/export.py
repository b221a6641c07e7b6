"""export: a run as training data."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .options import AsJson, print_json


class Format(StrEnum):
    sft = "sft"
    dpo = "dpo"
    sharegpt = "sharegpt"
    scenes = "scenes"


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run that `generate` made.")],
    out: Annotated[
        Path, typer.Option(help="File to write: .jsonl, .parquet, or .json for sharegpt. The data card goes beside it.")
    ] = ...,  # type: ignore[assignment]
    format: Annotated[
        Format, typer.Option(help="sft: messages; dpo: prompt, chosen, rejected; sharegpt: conversations; scenes.")
    ] = Format.sft,
    mix: Annotated[str, typer.Option(help="Shares of the rows, such as helpful=1,harmful=1,simulation=1.")] = "",
    test: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the questions that goes into a test file.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed for choosing the rows of --mix and the questions of --test.")] = 0,
    push: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Also publish the folder of OUT on the hub.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write the answers of a RUN as training data, with a data card that `datasets` reads."""
    from ..data.export import export as write
    from ..generate.run import Run

    shares = shares_of(mix)
    if not Run.described(run):
        raise InputError(f"{run} holds no run; `matrix-align generate SOURCE --out {run}` makes one")
    with Run.there(run) as opened:
        counts = write(opened, out, format.value, shares, test, seed)
    if push:
        from ..data.publish import publish

        files = [out.name, f"{out.stem}-test{out.suffix}"] if test else [out.name]
        publish(out.parent, files, push)
    told = {split: {"rows": count.rows, **count.kinds} for split, count in sorted(counts.items(), reverse=True)}
    if as_json:
        print_json(json.dumps(told))
    else:
        for split, kinds in told.items():
            took = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
            left_out = counts[split].left_out
            typer.echo(f"{split}: {took}{f'; left out: {left_out:,}' if left_out else ''}", err=True)


def shares_of(mix: str) -> dict[str, float]:
    from ..data.export import KINDS

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
