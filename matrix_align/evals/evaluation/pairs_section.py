"""The report's section on pairs: who won, what may mislead in it, and ratings. Owns its wording."""

from __future__ import annotations

from math import isnan

from ...types import counted
from ..pairwise.results import Comparison
from .report import Report, Versus
from .tables import NOT_MEASURED, Row, Section, Table, elo, p_value


def pairs(report: Report) -> Section:
    title = f"Against {report.against}, in pairs"
    if not report.versus:
        return Section("pairs", title, (_why_not(report),), ())
    tested = sum(versus.comparison.wins.n > 0 for versus in report.versus)
    words = [
        f"Decided by {', '.join(report.raters)}. An answer wins if it is the better one in every order in which the "
        f"pair was shown. Two equal answers are a tie. Net is the share of wins minus that of losses, with a 95 % "
        f"interval over questions. At even lengths is the same, if both answers were equally long. p comes from the "
        f"sign test; the corrected p counts the {counted(tested, 'measured comparison')} of this table (Holm). On "
        "few questions the intervals are too narrow: where one leaves out 0 and p is large, trust p.",
        *(
            f"{versus.benchmark}, {versus.comparison.candidate}: {versus.comparison.length.warning}."
            for versus in report.versus
            if versus.comparison.length.warning
        ),
        *(f"No ratings for {each.benchmark}: {each.why}." for each in report.ratings if each.why),
    ]
    tables = (_won(report), _misleading(report), *_ratings(report))
    shows = (
        f"For each benchmark and method the shares of wins, ties and losses against {report.against}, as in the table."
    )
    return Section("pairs", title, tuple(words), tables, "bars", shows)


def _why_not(report: Report) -> str:
    if len(report.standings) < 2:
        return f"Not measured: there is no method to compare with {report.against}."
    if report.sent:
        return (
            "Not measured: no judge was given and no rating that can be used. The pairs are in "
            f"{', '.join(report.sent)}, blind, for people or any model to rate; --ratings FILE reads the ratings back."
        )
    return f"Not measured: no answer differs from that of {report.against}, so there is no pair to rate."


def _won(report: Report) -> Table:
    columns = (
        *("benchmark", "method", "wins", "ties", "losses", "n", "missing"),
        *("net", "at even lengths", "p", "p corrected"),
    )
    return Table(
        f"Wins, ties and losses against {report.against}", columns, [_versus(each) for each in report.versus], 2
    )


def _versus(versus: Versus) -> Row:
    comparison = versus.comparison
    wins, counts = comparison.wins, comparison.counts
    figures = (
        f"{number:,} ({number / wins.n:.0%})" if wins.n else f"{number:,}"
        for number in (wins.wins, wins.ties, wins.losses)
    )
    return (
        versus.benchmark,
        comparison.candidate,
        *figures,
        f"{wins.n:,}",
        f"{counts.questions - wins.n:,}",
        wins.net.signed(),
        comparison.length.net.signed(),
        p_value(wins.p),
        p_value(versus.p_corrected),
    )


def _misleading(report: Report) -> Table:
    rows = [
        (
            versus.benchmark,
            versus.comparison.candidate,
            versus.comparison.orders.position.signed(),
            str(versus.comparison.orders.agreement),
            *_lengths(versus.comparison),
            f"{versus.comparison.counts.identical:,}",
        )
        for versus in report.versus
    ]
    columns = (
        *("benchmark", "method", "preference for the first", "orders agree"),
        *("is longer", "median words", "equal texts"),
    )
    caption = f"What may mislead: the order of showing, and the lengths ({report.against}'s second)"
    return Table(caption, columns, rows, 2)


def _lengths(comparison: Comparison) -> tuple[str, str]:
    length = comparison.length
    longer = NOT_MEASURED if isnan(length.longer) else f"{length.longer:.0%}"
    return longer, ", ".join(f"{words:,.0f}" for words in length.words) if comparison.wins.n else NOT_MEASURED


def _ratings(report: Report) -> list[Table]:
    """Ratings in Elo points; the method that they are relative to has 0 and no interval."""
    rows = [
        (each.benchmark, rating.name, elo(rating.rating) if place else "0, the reference", f"{rating.rating.n:,}")
        for each in report.ratings
        for place, rating in enumerate(each.ratings)
    ]
    columns = "benchmark", "method", "rating", "n"
    return [Table("Bradley-Terry ratings, in Elo points", columns, rows, 2)] if rows else []
