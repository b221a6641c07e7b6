"""The progress of a training, on standard error: step, loss, tokens per second, time left.

Shows a bar on a terminal, and prints twenty lines elsewhere.
"""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

LINES = 20


def watching(tokens: int, console: Console) -> Any:
    """A callback for transformers' trainers. `tokens` is the number of tokens in one epoch."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        """Follows one training. `seconds` and `tokens_done` cover all its starts, without what a kill has cost."""

        def __init__(self) -> None:
            columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
            self._bar = Progress(*columns, console=console, disable=not console.is_terminal, auto_refresh=False)
            self._began = time.monotonic()
            self._before = 0.0  # seconds of earlier starts
            self._epoch = 0.0

        def seconds(self) -> float:
            return self._before + max(time.monotonic() - self._began, 1e-3)

        def tokens_done(self) -> float:
            return self._epoch * tokens

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._began, self._epoch = time.monotonic(), state.epoch or 0.0
            self._before = max((entry.get("seconds", 0.0) for entry in state.log_history), default=0.0)
            self._first, self._lines = state.is_world_process_zero, state.global_step * LINES // state.max_steps
            if self._first:
                self._bar.start()
            self._task = self._bar.add_task("", total=state.max_steps, completed=state.global_step, figures="")

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                state.log_history[-1]["seconds"] = round(self.seconds(), 1)  # so that the checkpoint holds it
                self._show(state, f"loss {float(logs['loss']):.3f} · ")

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._epoch = state.epoch or 0.0

        def _show(self, state: Any, loss: str) -> None:
            left = self.seconds() / state.global_step * (state.max_steps - state.global_step) / 60
            figures = f"{loss}{self.tokens_done() / self.seconds():,.0f} tokens/s · {left:,.0f} min left"
            self._bar.update(self._task, completed=state.global_step, figures=figures)
            self._bar.refresh()
            reached = state.global_step * LINES // state.max_steps
            if reached > self._lines and self._first and not console.is_terminal:
                console.print(
                    f"step {state.global_step:,} of {state.max_steps:,} · {figures}", markup=False, soft_wrap=True
                )
            self._lines = reached

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._bar.stop()

    return Watch()
