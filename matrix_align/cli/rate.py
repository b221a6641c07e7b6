"""rate: people rate pairs of answers; what is rated, what came of it, and the ratings for other tools."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from ..errors import InputError
from .options import FOLDER, THERE, AsJson, print_report

rate = typer.Typer(help="Let people rate which of two answers is better, blind.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the rating.", **FOLDER)]
Without = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Rater to leave out. Can be given several times.")
]


class Format(StrEnum):
    ratings = "ratings"
    dpo = "dpo"
    inspect = "inspect"


@rate.command()
def new(
    folder: Folder,
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders that `generate` made: the baseline, then what to compare."),
    ],
    rater: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Rater who gets a secret link. Can be given several times, and later for more raters.",
        ),
    ] = None,
    by_name: Annotated[
        bool, typer.Option("--by-name", help="Whoever has the page's address may give a name and rate.")
    ] = False,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Compare all runs with one another, not only with the first.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most questions, drawn from each category in turn. Default: all.")
    ] = None,
    per_rater: Annotated[
        int | None, typer.Option(min=1, help="Most pairs a rater gets; all get about as many ratings. Default: all.")
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=0, help="Pairs that each rater gets twice, with the sides exchanged: up to half.")
    ] = 0,
    gold: Annotated[
        Path | None,
        typer.Option(help="File of pairs with a known better answer (chosen, rejected), to check raters.", **THERE),
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the questions, and each rater's order and sides.")] = 0,
) -> None:
    """Make a rating of two or more runs, or add raters to one.

    Prints their links without the address of the server; `matrix-align serve --rating` prints them whole.
    The same command again changes nothing. As long as nothing is rated, another command makes it anew.
    """
    from ..evals.rating.folder import Plan, new
    from ..types import counted

    if len(runs) < 2:
        raise InputError("rate new takes two runs or more; the first is the baseline")
    plan = Plan(runs, all_pairs, limit, per_rater, repeats, gold, seed, by_name)
    items, raters = new(folder, plan, rater or ())
    kinds = [item.kind for item in items]
    typer.echo(f"{folder} has {counted(kinds.count('pair'), 'pair')} to rate", err=True, nl=False)
    for kind, word in (("gold", "gold item"), ("identical", "pair")):
        if kind in kinds:
            alike = " of identical texts" if kind == "identical" else ""
            typer.echo(f", {counted(kinds.count(kind), word)}{alike}", err=True, nl=False)
    typer.echo(f". `matrix-align serve --rating {folder}` shows the page, and prints these with its address:", err=True)
    page = f"/rate/{quote(folder.resolve().name, safe='')}"
    if by_name:
        typer.echo(f"whoever gives a name: {page}")
    for each in raters:
        typer.echo(f"{each.name}: {page}/{each.link}")


@rate.command()
def report(
    folder: Folder,
    judge: Annotated[
        Path | None, typer.Option(metavar="COMPARISON", help="Folder of a `compare` by a judge.", exists=True, **FOLDER)
    ] = None,
    without: Without = None,
    seed: Annotated[int, typer.Option(help="Draws the intervals.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say what came of it: who wins, how far raters agree with one another and with a judge, and how each rater rates.

    The same is written to report.md and report.json in DIR.
    """
    from ..evals.rating.report import markdown, show
    from ..evals.rating.report import report as made

    found = made(folder, judge, without or (), seed)
    print_report(found, as_json, show, markdown)


@rate.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="File to write.")] = ...,  # type: ignore[assignment]
    format: Annotated[
        Format,
        typer.Option(
            help="ratings: a rating file for `compare`, with its key in DIR; dpo: prompt, chosen, rejected; inspect: "
            "scores for precomputed_scores of Inspect AI."
        ),
    ] = Format.ratings,
    without: Without = None,
) -> None:
    """Write the ratings for other tools."""
    from ..evals.rating.export import KEY
    from ..evals.rating.export import export as write
    from ..types import counted

    rows = write(folder, out, format.value, without or ())
    beside = f"; the key is {folder / KEY}" if format is Format.ratings else ""
    typer.echo(f"{out} has {counted(rows, 'row')}{beside}", err=True)
