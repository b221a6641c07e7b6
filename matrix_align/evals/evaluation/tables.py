"""A section of the report as words and tables of texts, and how a figure is written in a cell. Owns no wording else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from ..pairwise.results import Estimate
from ..scores import Figure

NOT_MEASURED = "not measured"
Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """`names` is how many of the first columns name the row; the others hold figures."""

    caption: str
    columns: Row
    rows: Sequence[Row]
    names: int = 1


@dataclass(frozen=True)
class Section:
    """`plot` is the name of its plot, and `shows` says what that plot shows; both are empty if it has none."""

    id: str
    title: str
    words: tuple[str, ...]
    tables: tuple[Table, ...]
    plot: str = ""
    shows: str = ""


def figure(figure: Figure) -> Row:
    """The figure with its interval, its n, and what is missing."""
    n, missing = f"{figure.n:,}", f"{figure.missing:,}"
    if figure.value is None:
        return NOT_MEASURED, n, missing
    if figure.unit == "share":
        return f"{figure.value:.0%} ({figure.low:.0%} to {figure.high:.0%})", n, missing
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})", n, missing


def elo(estimate: Estimate) -> str:
    return f"{estimate.value:+.0f} ({estimate.low:+.0f} to {estimate.high:+.0f})"


def p_value(p: float) -> str:
    if isnan(p):
        return NOT_MEASURED
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
