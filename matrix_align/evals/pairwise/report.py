"""Shows results: as Markdown and on a terminal, from the same tables. Every table carries the warnings."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Shown

from .results import Comparison, Results, Wins

NOT_MEASURED = "not measured"
LISTED = 20  # questions without a pair that are named one by one


@dataclass(frozen=True)
class Table:
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(results: Results) -> list[Table]:
    """All tables of the results that have something to show."""
    found = [_won(results), _trust(results), _counted(results)]
    found += [_categories(one) for one in results.comparisons if one.by_category]
    if results.ratings:
        rows = tuple(
            (each.name, f"{each.rating.value:+.0f}", f"{each.rating.low:+.0f} to {each.rating.high:+.0f}")
            if place
            else (each.name, "0", "the reference")
            for place, each in enumerate(results.ratings)
        )
        found.append(Table("Bradley-Terry ratings, Elo points", ("", "rating", "95 % interval"), rows))
    return found


def named(one: Comparison) -> str:
    return f"{one.candidate} against {one.baseline}"


def _won(results: Results) -> Table:
    many = len(results.comparisons) > 1
    header = ("", "win", "tie", "lose", "net win rate", "at equal lengths", "sign test p")
    rows = tuple(
        (named(one), *shares(one.wins), one.length.net.signed(), _p(one.wins.p))
        + ((_p(one.p_corrected),) if many else ())
        for one in results.comparisons
    )
    judges = ", ".join(results.judges) or "nobody"
    title = f"Who wins, by {judges} (95 % intervals over questions)"
    return Table(title, header + (("corrected (Holm)",) if many else ()), rows)


def shares(wins: Wins) -> tuple[str, ...]:
    if not wins.n:
        return (NOT_MEASURED,) * 4
    alike = f", {wins.identical} identical" if wins.identical else ""
    return (
        f"{wins.wins} of {wins.n}: {wins.win}",
        f"{wins.ties} of {wins.n}: {wins.tie}{alike}",
        f"{wins.losses} of {wins.n}: {wins.lose}",
        wins.net.signed(),
    )


def _p(p: float) -> str:
    if isnan(p):
        return NOT_MEASURED
    return f"{p:.2g}" if p >= 0.0001 else "< 0.0001"


def _trust(results: Results) -> Table:
    header = ("", "position bias", "orders agree", "kappa", "effect of length, log-odds", "median words", "is longer")
    raters = any(one.raters for one in results.comparisons)
    rows = []
    for one in results.comparisons:
        effect, kappa = one.length.effect, one.orders.kappa
        row: tuple[str, ...] = (
            named(one),
            one.orders.position.signed(),
            str(one.orders.agreement),
            f"{kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})" if kappa.n else NOT_MEASURED,
            f"{effect.value:+.2f} ({effect.low:+.2f} to {effect.high:+.2f})" if effect.n else NOT_MEASURED,
            f"{one.length.words[0]:g} against {one.length.words[1]:g}" if one.wins.n else NOT_MEASURED,
            _longer(one),
        )
        if raters:
            row += (_agree(one),)
        rows.append(row)
    return Table("How far to trust it", header + (("raters agree",) if raters else ()), tuple(rows))


def _longer(one: Comparison) -> str:
    if isnan(one.length.longer):
        return NOT_MEASURED
    return f"{one.length.longer:.0%}" + (f"; {one.length.warning}" if one.length.warning else "")


def _agree(one: Comparison) -> str:
    if not one.raters:
        return "one rater" if one.wins.n else NOT_MEASURED
    kappa = one.raters.kappa
    return f"{one.raters.agreement}, kappa {f'{kappa.value:.2f}' if kappa.n else NOT_MEASURED}"


def _counted(results: Results) -> Table:
    """Where every question went, without the columns that are 0 everywhere."""
    names = {
        "identical": "identical texts",
        "missing": "no verdict",
        "only_in_one": "in one run only",
        "failed": "failed",
        "not_answered": "not answered yet",
        "empty": "empty",
    }
    every = [one.counts.model_dump() for one in results.comparisons]
    shown = {field: name for field, name in names.items() if any(counts[field] for counts in every)}
    faults = any(one.faults for one in results.comparisons)
    rows = []
    for one, counts in zip(results.comparisons, every, strict=True):
        row = (named(one), *(f"{counts[field]:,}" for field in ("questions", "judged", *shown)))
        why = ", ".join(f"{number:,} {fault}" for fault, number in one.faults.items())
        rows.append((*row, why or "-") if faults else row)
    header = ("", "questions", "judged", *shown.values(), *(("verdicts missing",) if faults else ()))
    return Table("Where the questions went", header, tuple(rows))


def _categories(one: Comparison) -> Table:
    rows = tuple((category, *shares(wins), _p(wins.p)) for category, wins in one.by_category.items())
    header = ("", "win", "tie", "lose", "net win rate", "sign test p")
    return Table(f"{named(one)}, by category", header, rows)


def markdown(results: Results) -> str:
    """All tables, each with the warnings under it, and the questions that make no pair."""
    parts = []
    for table in tables(results):
        parts += [*table_as_markdown(table), *(f"Warning: {line}." for line in results.warnings)]
    if results.no_ratings:
        parts.append(f"No ratings: {results.no_ratings}.")
    for one in results.comparisons:
        if one.left_out:
            parts.append("\n".join([f"Without a pair, {named(one)}:", "", *(f"- {line}" for line in _first(one))]))
    return "\n\n".join(parts)


def table_as_markdown(table: Table) -> list[str]:
    """The title and the table, as two paragraphs."""
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in (table.header, *table.rows)]
    lines.insert(1, "|---" * len(table.header) + "|")
    return [f"**{_cell(table.title)}**", "\n".join(lines)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _first(one: Comparison) -> list[str]:
    more = len(one.left_out) - LISTED
    return [*one.left_out[:LISTED], *([f"… and {more:,} more, in comparison.json"] if more > 0 else [])]


def show(results: Results, console: Console) -> None:
    """The same on a terminal."""
    for table in tables(results):
        console.print(table_on_terminal(table, "\n".join(f"Warning: {line}." for line in results.warnings)))
    if results.no_ratings:
        console.print(escape(f"No ratings: {results.no_ratings}."))
    for one in results.comparisons:
        for line in _first(one) if one.left_out else ():
            console.print(escape(f"without a pair, {line}"))


def table_on_terminal(table: Table, caption: str = "") -> Shown:
    shown = Shown(title=escape(table.title), caption=escape(caption) or None, title_justify="left")
    for place, name in enumerate(table.header):
        shown.add_column(escape(name), overflow="fold", no_wrap=False, ratio=None if place else 2)
    for row in table.rows:
        shown.add_row(*map(escape, row))
    return shown
