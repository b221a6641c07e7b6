"""Shows the figures, as Markdown and on a terminal, and keeps them in the folder of the rating.

The tables of who wins are those of a comparison. `judged.jsonl` has the form of a comparison's too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ...errors import InputError
from ..pairwise import report as compared
from ..pairwise.outcomes import OUTCOMES
from ..pairwise.report import Table
from .alpha import Alpha
from .export import write_judged
from .figures import Report, figures, read
from .judge import Agreement
from .raters import Rater

OF = {
    "nominal": "win, tie, lose as they are",
    "ordinal": "the five levels in their order",
    "interval": "the five levels at equal distances",
}


def report(folder: Path, compared: Path | None = None, without: Sequence[str] = (), seed: int = 0) -> Report:
    """The figures of the ratings in `folder`, but for those of raters `without`. They are also written there.

    `compared` is the folder of a comparison by a judge.
    """
    there = read(folder, without)
    found = figures(there, compared, seed)
    write_judged(there, folder)
    try:
        (folder / "report.md").write_text(markdown(found) + "\n", encoding="utf-8")
        (folder / "report.json").write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't write {error.filename}: {error.strerror}") from None
    return found


def markdown(report: Report) -> str:
    parts = [compared.markdown(report.results)]
    for table in _tables(report):
        parts += compared.table_as_markdown(table)
    return "\n\n".join([*parts, *_undefined(report)])


def show(report: Report, console: Console) -> None:
    compared.show(report.results, console)
    for table in _tables(report):
        console.print(compared.table_on_terminal(table))
    for line in _undefined(report):
        console.print(escape(line))


def _tables(report: Report) -> list[Table]:
    found = []
    for one, by_harm in zip(report.results.comparisons, report.by_harm, strict=True):
        if by_harm:
            rows = tuple((harm, *compared.shares(wins)) for harm, wins in by_harm.items())
            title = f"{compared.named(one)}, by the kind of harm that raters named"
            found.append(Table(title, ("", "win", "tie", "lose", "net win rate"), rows))
    found += [_alphas(report.alphas), _raters(report.raters)]
    if report.judge:
        found.append(_judge(report.judge))
    return found


def _alphas(alphas: tuple[Alpha, ...]) -> Table:
    rows = tuple(
        (one.metric, OF[one.metric], "undefined" if one.undefined else str(one), f"{one.units}", f"{one.estimate.n}")
        for one in alphas
    )
    title = "How far raters agree: Krippendorff's alpha (1: fully, 0: as chance would; 95 % intervals over questions)"
    return Table(title, ("", "of", "alpha", "pairs with two ratings or more", "questions of these"), rows)


def _undefined(report: Report) -> list[str]:
    reasons = dict.fromkeys(one.undefined for one in report.alphas if one.undefined)
    return [f"Krippendorff's alpha is undefined: {reason}." for reason in reasons]


def _raters(raters: tuple[Rater, ...]) -> Table:
    rows = tuple(
        (
            rater.name,
            f"{rater.rated} of {rater.shown}",
            "-" if rater.seconds is None else f"{rater.seconds:.1f}",
            str(rater.again or "not measured"),
            str(rater.gold or "not measured"),
            str(rater.same),
            rater.position.signed(),
        )
        for rater in raters
    )
    header = ("", "rated", "median seconds", "same again", "gold right", "says 'same'", "prefers A")
    return Table("The raters (95 % intervals)", header, rows)


def _judge(judge: Agreement) -> Table:
    kappa = judge.kappa
    rows = tuple(
        (f"raters: {name}", *(f"{count}" for count in row)) for name, row in zip(OUTCOMES, judge.table, strict=True)
    )
    beyond = f"{kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})" if kappa.n else "not measured"
    title = f"Raters and {judge.judge} agree in {judge.agreement} of {sum(map(sum, judge.table))} pairs, kappa {beyond}"
    return Table(title, ("", *(f"judge: {name}" for name in OUTCOMES)), rows)
