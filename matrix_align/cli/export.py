"""export: a run as training data or as a log of Inspect AI, and a comparison as a file of scores."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..llm.builtin import DEFAULT
from .options import FOLDER, AsJson, print_json

if TYPE_CHECKING:
    from ..data.data_card import Count


class Format(StrEnum):
    sft = "sft"
    dpo = "dpo"
    sharegpt = "sharegpt"
    scenes = "scenes"
    inspect = "inspect"
    ratings = "ratings"


def export(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run that `generate` made; for ratings, of a comparison.", **FOLDER)
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="File to write: .jsonl or .parquet, with the data card beside it; .json for sharegpt; .eval or .json "
            "for inspect."
        ),
    ] = ...,  # type: ignore[assignment]
    format: Annotated[
        Format,
        typer.Option(
            help="sft: messages; dpo: prompt, chosen, rejected; sharegpt: conversations; scenes; inspect: a log of "
            "Inspect AI; ratings: outcomes for its precomputed_scores."
        ),
    ] = Format.sft,
    mix: Annotated[
        str,
        typer.Option(help="Shares of the rows, such as helpful=1,harmful=1; simulation=1 too for sft and sharegpt."),
    ] = "",
    test: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the exported questions that goes into a test file.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed for choosing the rows of --mix and the questions of --test.")] = 0,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Leave out rows of more tokens, before --mix is made; `tune` takes 1024.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help=f"The model whose tokens --max-length counts. Default: {DEFAULT}.")
    ] = None,
    push: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Also publish the folder of OUT on the hub.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write the answers of a RUN as training data, with a data card that `datasets` reads, or as a log."""
    from ..data.export import export as write
    from ..generate.run import Run

    shares = shares_of(mix)
    if format in (Format.inspect, Format.ratings):
        if mix or test or max_length or base or push:
            raise InputError(f"--format {format} takes --out alone; the other options are for training data")
        _report({format.value: _for_inspect(run, out, format)}, as_json)
        return
    if not Run.described(run):
        raise InputError(f"{run} holds no run; `matrix-align generate SOURCE --out {run}` makes one")
    if base and not max_length:
        raise InputError("--base names the model whose tokens --max-length counts; give that too, or leave --base out")
    limit = None
    if max_length:
        from ..tuning.examples import limit_of

        limit = limit_of(base or DEFAULT, max_length)
    with Run.there(run) as made:
        counts = write(made, out, format.value, shares, test, seed, limit)
    if push:
        from ..data.publish import publish

        files = [out.name, f"{out.stem}-test{out.suffix}"] if test else [out.name]
        publish(out.parent, files, push)
    _report(counts, as_json)
    if test and not as_json and not counts["test"].rows:
        typer.echo(
            "test: there is one question alone, and it is in the training file; no test file is written", err=True
        )


def _for_inspect(folder: Path, out: Path, format: Format) -> "Count":
    """Writes what Inspect AI reads: a run as a log, or the outcomes of a comparison."""
    from ..generate.run import Run

    if format is Format.ratings:
        from ..evals.inspect.precomputed import export_ratings

        return export_ratings(folder, out)
    from ..evals.inspect.logs import export_log

    with Run.there(folder) as made:
        return export_log(made, out)


def _report(counts: "dict[str, Count]", as_json: bool) -> None:
    """Tells what went into each file."""
    if as_json:
        print_json(json.dumps({split: _summary(count) for split, count in sorted(counts.items(), reverse=True)}))
        return
    from ..types import counted

    for split, count in sorted(counts.items(), reverse=True):
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in count.kinds.items())
        typer.echo(f"{split}: {counted(count.rows, 'row')}{f', {kinds}' if kinds else ''}", err=True)
        for why, number in count.left_out.items():
            typer.echo(f"{split}: left out {number:,}: {why}", err=True)


def _summary(count: "Count") -> dict[str, object]:
    left_out = {"left_out": dict(count.left_out)} if count.left_out else {}
    return {"rows": count.rows, **count.kinds, **left_out}


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
