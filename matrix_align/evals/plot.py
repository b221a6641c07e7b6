"""The metrics of all rounds as one picture. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .measurement import Measurement, shares


def plot(measurements: Mapping[str, Measurement], path: Path) -> None:
    """Writes a PNG with a line for each metric, from the base through the rounds, with 95 % intervals."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(8, 4.5), dpi=100)
    axes = figure.subplots()
    rounds = [shares(measurement) for measurement in measurements.values()]
    metrics = list(dict.fromkeys(metric for metrics_of_round in rounds for metric in metrics_of_round))
    for number, metric in enumerate(metrics):
        points = [(place, by_metric[metric]) for place, by_metric in enumerate(rounds) if metric in by_metric]
        places = [place + 0.06 * (number - (len(metrics) - 1) / 2) for place, _ in points]  # no overlap
        spread = [[p.part - p.low for _, p in points], [p.high - p.part for _, p in points]]
        parts = [p.part for _, p in points]
        axes.errorbar(places, parts, yerr=spread, label=metric, capsize=3, marker="o", markersize=4)
    axes.set_xticks(range(len(rounds)), list(measurements))
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("share, with 95 % interval")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)
    figure.tight_layout()
    figure.savefig(path)
