"""What was logged on the way, as a picture: the loss of each step, and that of the test rows after each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw(history: list[dict[str, Any]], made: Path) -> None:
    """Writes a PNG of 800 x 450. DPO's share of pairs told apart is drawn too where it was logged."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.5), dpi=100)
    axes = figure.subplots()
    lines = {
        "loss": ("training loss", "-"),
        "eval_loss": ("test loss", "o-"),
        "rewards/accuracies": ("pairs told apart", ":"),
    }
    for name, (label, style) in lines.items():
        if points := [(each["step"], each[name]) for each in history if name in each]:
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, style, label=label, linewidth=1)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(made)
