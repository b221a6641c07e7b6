"""A picture of the training: the loss of each step, and the loss on the test rows after each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ACCURACY = "rewards/accuracies"  # as DPOTrainer calls it


def draw(history: list[dict[str, Any]], made: Path) -> None:
    """Writes a PNG of 800 x 450 pixels. Also draws DPO's share of pairs told apart, if it was logged."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.5), dpi=100)
    axes = figure.subplots()
    lines = {"loss": ("training loss", "-"), "eval_loss": ("test loss", "o-")}
    for name, (label, style) in lines.items():
        if points := [(entry["step"], entry[name]) for entry in history if name in entry]:
            axes.plot(*zip(*points, strict=True), style, label=label, linewidth=1)
    if points := [(entry["step"], entry[ACCURACY]) for entry in history if ACCURACY in entry]:
        shares = axes.twinx()
        axes.plot([], [], "g:", label="pairs told apart")  # only for the legend, which belongs to these axes
        shares.plot(*zip(*points, strict=True), "g:", linewidth=1)
        shares.set_ylim(0, 1.03)
        shares.set_ylabel("share of pairs told apart")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, axes.dataLim.y1 * 1.05 if axes.lines else 1)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(made)
