"""The progress of a run on standard error, and its summary at the end.

Reads the account (`Tally`) from outside. No code that answers questions waits for it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table
from rich.text import Text

from ..llm.pool import Tally
from ..types import counted, shorten
from .run import Run

INTERRUPT = "interrupted"
LISTED = 10  # rows that failed and are listed one by one


@asynccontextmanager
async def showing(tally: Tally, console: Console) -> AsyncIterator[None]:
    """Shows the progress of the run until the block ends."""
    with _progress(console) as progress:
        shown = asyncio.create_task(_show(progress, tally))
        try:
            yield
        finally:
            shown.cancel()
            _update(progress, tally)


def _progress(console: Console) -> Progress:
    figures = TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    bar = (BarColumn(20),) if console.width >= 100 else ()
    columns = (*bar, MofNCompleteColumn(table_column=Column(no_wrap=True)), figures)
    return Progress(*columns, console=console, disable=not console.is_terminal, auto_refresh=False)


async def _show(progress: Progress, tally: Tally) -> None:
    """Reads the account twice a second. Prints a server's trouble even without a terminal."""
    progress.add_task("", total=tally.total, figures="")
    told = ""
    while True:
        if told != tally.trouble:
            told = tally.trouble
            progress.console.print(Text(shorten(told, 300) if told else "The servers answer again."), soft_wrap=True)
        _update(progress, tally)
        await asyncio.sleep(0.5)


def _update(progress: Progress, tally: Tally) -> None:
    ended, seconds = tally.done + tally.failed, max(tally.seconds, 1e-3)
    rate = ended / seconds
    wanted = (tally.total - ended) / rate if ended else 0.0
    left = f" · {wanted / 60:,.0f} min left" if wanted > 120 else f" · {wanted:.0f} s left" if ended else ""
    figures = (
        f"{tally.failed} failed · {rate * 3600:,.0f} answers/h · {tally.tokens / seconds:,.0f} tokens/s · "
        f"{counted(tally.in_flight, 'call')}{left}"
    )
    for task in progress.task_ids:
        progress.update(task, completed=ended, total=tally.total, figures=figures)
    progress.refresh()


def _from_here(place: str) -> str:
    """The place of a row, from the working directory on if the file lies in it."""
    return place.removeprefix(f"{Path.cwd()}{os.sep}")


def summarise(console: Console, run: Run, counts: dict[str, int], tally: Tally) -> None:
    """Prints the counts of all inputs, and the first of those that could not be used or answered."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for became, count in counts.items():
        table.add_row(became, f"{count:,}")
    table.add_row("total", f"{sum(counts.values()):,}")
    console.print(table)
    if not counts:
        console.print("The run holds no question; give a SOURCE of questions", soft_wrap=True)
    for place, state, reason in run.inputs.faults(LISTED):
        console.print(Text(f"{_from_here(place)}: {state}: {shorten(reason, 200)}"), soft_wrap=True)
    failed = sum(count for became, count in counts.items() if became.startswith("failed"))
    if (more := failed + counts.get("bad row", 0) - LISTED) > 0:
        console.print(f"… and {more:,} more")
    if failed:
        console.print(
            "Failed answers: `matrix-align generate --retry-failed` tries them again; "
            f"`matrix-align scenes --store {run.folder / 'record.db'}` lists them",
            soft_wrap=True,
        )
    if tally.cut:
        lines = {"length": "at --answer-tokens", "filter": "by the server's content filter"}
        told = ", ".join(f"{count:,} {lines[why]}" for why, count in sorted(tally.cut.items(), reverse=True))
        console.print(f"Answers cut off: {told}", soft_wrap=True)
    usage = tally.usage
    tokens = f"{usage.prompt_tokens:,} prompt ({usage.cached_tokens:,} cached), {usage.completion_tokens:,} generated"
    cost = f" · cost {tally.cost:,.2f}" if any(tally.prices) else ""
    console.print(
        f"This time: {counted(tally.calls, 'call')} · tokens: {tokens} · {tally.seconds:,.1f} s{cost}", soft_wrap=True
    )
    if tally.stop and tally.stop != INTERRUPT:  # main() reports an interrupt
        if tally.unfinished and not tally.done:
            fewer = " --concurrency N begins fewer at the same time." if tally.unfinished > 1 else ""
            console.print(
                f"No answer was finished this time: {counted(tally.unfinished, 'answer')} had begun when the run "
                f"stopped. The calls are kept.{fewer}",
                soft_wrap=True,
            )
        console.print(f"Stopped: {tally.stop}. The same command resumes.", soft_wrap=True)
