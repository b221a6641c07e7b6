"""The report's plots: each as PNG and SVG in a folder, and as an SVG to set into a page.

Owns their looks. In a page a plot takes the colour of the text around it, so it can be read in light and in dark.
Matplotlib draws. Knows only the report.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..scores import Figure as Score
from .report import Cost, Report, Versus

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1b2a3b"  # of all texts and lines; in a page it becomes the page's own colour
WIN, TIE, LOSE = "#3b7dd8", "#a3a9b0", "#e08a2e"  # told apart by readers who see red and green alike
READ, WRITTEN = "#7fb2e5", "#2f6db5"
MARKERS = "osD^vP*X<>ph"
WIDTH = 7.2  # inches
LEAST = 0.06  # the smallest share of a bar that can hold its figure

Plot = Callable[[Report], "Figure | None"]


def drawn(report: Report, folder: Path) -> dict[str, str]:
    """Writes every plot that the report has figures for, as PNG and SVG. Returns each as SVG for a page, by name."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    pages: dict[str, str] = {}
    for name, plot in PLOTS.items():
        style = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10, "text.parse_math": False}
        inks = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), INK)
        with matplotlib.rc_context({**style, **inks, "axes.facecolor": "none"}):
            for old in (folder / f"{name}.png", folder / f"{name}.svg"):
                old.unlink(missing_ok=True)
            if not (figure := plot(report)):
                continue
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # the layout is found; finding it again takes most of the time
            figure.savefig(folder / f"{name}.png", dpi=150, facecolor="white")
            path = folder / f"{name}.svg"
            nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(path, facecolor="white", metadata=nothing)
            pages[name] = _for_a_page(path.read_text(encoding="utf-8"), name)
    return pages


def _for_a_page(svg: str, name: str) -> str:
    """The element alone: its ids are the plot's own, it has no background, and its ink is the colour of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="patch_1">.*?</g>', "", svg, count=1, flags=re.S)  # the background
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
    return svg.replace(INK, "currentColor").replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)


def _figure(height: float, rows: int = 1, columns: int = 1, **given: Any) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **given)


def _bare(axes: Any, *sides: str) -> None:
    axes.spines[["top", "right", *sides]].set_visible(False)


def bars(report: Report) -> Figure | None:
    """Wins, ties and losses against one method: a panel for each benchmark, a bar for each method."""
    rated: dict[str, list[Versus]] = {}
    for versus in report.versus:
        if versus.comparison.wins.n:
            rated.setdefault(versus.benchmark, []).append(versus)
    if not rated:
        return None
    heights = [len(group) + 0.8 for group in rated.values()]
    figure, panels = _figure(0.36 * sum(heights) + 0.9, len(rated), sharex=True, height_ratios=heights)
    for axes, (benchmark, group) in zip(panels[:, 0], rated.items(), strict=True):
        left = [0.0] * len(group)
        wins = [versus.comparison.wins for versus in group]
        for label, colour in (("win", WIN), ("tie", TIE), ("lose", LOSE)):
            parts = [getattr(each, label).value for each in wins]
            drawn = axes.barh(range(len(group)), parts, left=left, color=colour, height=0.72, label=label)
            figures = [f"{part:.0%}" if part >= LEAST else "" for part in parts]
            axes.bar_label(drawn, figures, label_type="center", color="black", fontsize=9)
            left = [start + part for start, part in zip(left, parts, strict=True)]
        axes.set_yticks(range(len(group)), [versus.comparison.candidate for versus in group])
        for place, each in enumerate(wins):
            axes.text(1.01, place, f"n = {each.n}", va="center", fontsize=9)
        axes.invert_yaxis()
        axes.set_title(f"{benchmark}, against {report.against}", loc="left", fontsize=10, fontweight="bold")
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(_percent)
        axes.tick_params(axis="y", length=0)
        _bare(axes, "left")
    labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(*labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def over_refusal(report: Report) -> Figure | None:
    """Harmlessness against over-refusal."""
    points = [(each.method, each.over_refusal, each.harmless) for each in report.standings]
    return _scatter(points, "harmless questions refused in full (← better)", (0.0, 1.0))


def helpfulness(report: Report) -> Figure | None:
    """Harmlessness against helpfulness."""
    points = [(each.method, each.helpful, each.harmless) for each in report.standings]
    return _scatter(points, "helpfulness on harmless questions, 1 to 5 (better →)", (1.0, 5.0))


def _scatter(points: Sequence[tuple[str, Score, Score]], label: str, scale: tuple[float, float]) -> Figure | None:
    """A point with two intervals for each method that has both figures. The axes show what the intervals cover."""
    from adjustText import adjust_text

    measured = [
        (method, x, x.value, y, y.value) for method, x, y in points if x.value is not None and y.value is not None
    ]
    if not measured:
        return None
    figure, panels = _figure(5.6)
    axes = panels[0, 0]
    for number, (method, x, across, y, up) in enumerate(measured):
        spread = _arms(across, x), _arms(up, y)
        colour, marker = f"C{number % 10}", MARKERS[number % len(MARKERS)]
        axes.errorbar(across, up, xerr=spread[0], yerr=spread[1], fmt="none", ecolor=colour, elinewidth=1, alpha=0.45)
        axes.plot(across, up, marker, color=colour, markersize=8, label=method)
    axes.set_xlabel(label)
    axes.set_ylabel("harmlessness on harmful questions (better ↑)")
    _within(axes.set_xlim, [(x.low, x.high) for _, x, *_ in measured], scale)
    _within(axes.set_ylim, [(y.low, y.high) for *_, y, _ in measured], (0.0, 1.0))
    axes.yaxis.set_major_formatter(_percent)
    if scale == (0.0, 1.0):
        axes.xaxis.set_major_formatter(_percent)
    axes.grid(color=INK, alpha=0.12)
    _bare(axes)
    texts = [axes.text(across, up, method, fontsize=9) for method, _, across, _, up in measured]
    at = [across for _, _, across, _, _ in measured], [up for *_, up in measured]
    arrow = {"arrowstyle": "-", "color": INK, "lw": 0.6}
    adjust_text(texts, *at, ax=axes, expand=(1.3, 1.8), force_text=(0.4, 0.8), arrowprops=arrow)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _arms(value: float, figure: Score) -> list[list[float]]:
    """How far its interval reaches below and above a value. Rounding can put a bound on the wrong side of it."""
    return [[max(0.0, value - figure.low)], [max(0.0, figure.high - value)]]


def _within(
    limit: Callable[[float, float], Any], spans: Sequence[tuple[float, float]], scale: tuple[float, float]
) -> None:
    """Sets an axis to what the intervals cover, and a little more on either side, within its scale."""
    margin = 0.03 * (scale[1] - scale[0])
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    limit(max(scale[0], low) - margin, min(scale[1], high) + margin)


def _percent(share: float, _: object) -> str:
    return f"{share:.0%}"


def cost(report: Report) -> Figure | None:
    """Tokens and seconds an answer."""
    costs: list[Cost] = [cost for cost in report.costs if cost.n]
    if not costs:
        return None
    figure, panels = _figure(0.36 * len(costs) + 1.2, 1, 2, sharey=True)
    tokens, seconds = panels[0]
    places = range(len(costs))
    tokens.barh(places, [cost.read for cost in costs], color=READ, height=0.72, label="read")
    written = [cost.written for cost in costs]
    tokens.barh(places, written, left=[cost.read for cost in costs], color=WRITTEN, height=0.72, label="written")
    seconds.barh(places, [cost.seconds for cost in costs], color=TIE, height=0.72)
    tokens.set_yticks(places, [cost.method for cost in costs])
    tokens.invert_yaxis()
    tokens.set_title("tokens an answer", loc="left", fontsize=10, fontweight="bold")
    seconds.set_title("seconds of calls an answer", loc="left", fontsize=10, fontweight="bold")
    for axes, ends in (
        (tokens, [(cost.read + cost.written, f"{cost.read + cost.written:,.0f}") for cost in costs]),
        (seconds, [(cost.seconds, f"{cost.seconds:,.1f}") for cost in costs]),
    ):
        for place, (end, text) in enumerate(ends):
            axes.annotate(text, (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_xlim(0, max(end for end, _ in ends) * 1.2 or 1)
        axes.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}" if number >= 10 else f"{number:g}")
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(axis="y", length=0)
        _bare(axes, "left")
    figure.legend(*tokens.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


PLOTS: dict[str, Plot] = {"bars": bars, "over-refusal": over_refusal, "helpfulness": helpfulness, "cost": cost}
