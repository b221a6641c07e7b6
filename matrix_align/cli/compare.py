"""compare: which of two runs has the better answers, pair by pair."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .options import FOLDER, THERE, AsJson, print_report

LISTED = 20  # faults of rating files that are told one by one


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders that `generate` made: the baseline, then what to compare."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the comparison.", **FOLDER)] = ...,  # type: ignore[assignment]
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Compare all runs with one another, not only with the first.")
    ] = False,
    judge: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server that has the judge.")] = None,
    judge_model: Annotated[
        str | None, typer.Option(help="Name of the judge on its server. Without --judge: a model to serve here.")
    ] = None,
    judge_digest: Annotated[
        str | None, typer.Option(help="Your own name for the judge's weights. Default: what its server says of them.")
    ] = None,
    pairs_out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a blind file of the pairs, for people or any model. The key stays in --out.", **FOLDER
        ),
    ] = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Show each pair in one order, drawn at random. Halves the work of --pairs-out."),
    ] = False,
    ratings: Annotated[
        list[Path] | None,
        typer.Option(help="File of ratings of the blind file. Can be given several times.", **THERE),
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Key of the blind file. Default: the one in --out.", **THERE)] = None,
    seed: Annotated[int, typer.Option(help="Draws the sides of the blind file, and the intervals.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare runs pair by pair: who wins, by how much, and how far to trust it.

    The judge is a model (--judge, --judge-model), or whoever rates a file: --pairs-out sends the pairs out, --ratings
    reads what comes back. The same command resumes, and asks only for verdicts that are missing. Exit status 1: the
    judge failed before the end, or no pair is decided.
    """
    from ..evals.pairwise.folder import KEY, Compared, compare_by_judge, compare_by_ratings, send_out
    from ..evals.pairwise.report import markdown, show
    from ..types import counted

    if len(runs) < 2:
        raise InputError("compare takes two runs or more; the first is the baseline")
    by_judge = bool(judge or judge_model)
    if [by_judge, bool(pairs_out), bool(ratings)].count(True) != 1:
        raise InputError("give one of --judge URL (or --judge-model NAME), --pairs-out FOLDER and --ratings FILE")
    if once and not pairs_out:
        raise InputError("--once goes with --pairs-out")
    if key and not ratings:
        raise InputError("--key goes with --ratings")
    if judge_digest is not None and not judge:
        raise InputError("--judge-digest goes with --judge; the weights of a file served here are read")
    compared = Compared(runs, all_pairs, seed)
    if pairs_out:
        lines, couples = send_out(out, compared, pairs_out, once)
        identical = sum(pair.identical for couple in couples for pair in couple.pairs)
        beside = f"; {counted(identical, 'pair')} left out, since both answers are the same" if identical else ""
        typer.echo(f"{pairs_out} holds {counted(lines, 'line')} to rate{beside}. Keep {out / KEY} from whoever rates.")
        return
    trouble = ""
    if ratings:
        found, faults = compare_by_ratings(out, compared, ratings, key)
        for fault in faults[:LISTED]:
            typer.echo(fault, err=True)
        if len(faults) > LISTED:
            typer.echo(f"… and {len(faults) - LISTED:,} more", err=True)
    else:
        found, trouble = compare_by_judge(out, compared, judge, judge_model, judge_digest)
    print_report(found, as_json, show, markdown)
    if trouble:
        typer.echo(f"matrix-align: {trouble}", err=True)
    if trouble or (ratings and not any(one.counts.judged for one in found.comparisons)):
        raise typer.Exit(1)
