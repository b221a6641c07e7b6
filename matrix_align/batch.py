"""The work of the `generate` command: sources into the run, servers opened, progress shown, the summary printed.

Owns what a person sees of a run while it goes on. Knows neither how scenes are scheduled nor how they are kept.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from .errors import InputError
from .generate import generate
from .models import opened
from .run import Run
from .servers import Server, Tally
from .sources import Category, read
from .types import Settings, shorten

INTERRUPT = "interrupted"
SHOWN = 10  # rows that could not be used or played, named one by one
SHORT = {"s": 1, "m": 60, "h": 3600}


def budget(max_tokens: int | None, max_cost: float | None, prices: str | None, max_time: str | None) -> Tally:
    """The limits of a run as its command line gives them. Raises InputError."""
    if (max_cost is None) != (prices is None):
        raise InputError("--max-cost needs --prices READ,WRITTEN of a million tokens, and --prices needs --max-cost")
    read_written = (0.0, 0.0)
    if prices:
        try:
            one, other = (float(price) for price in prices.split(","))
        except ValueError:
            raise InputError(f"--prices is two numbers with a comma, as in 0.15,0.60 (got {prices})") from None
        read_written = one, other
    seconds = None
    if max_time:
        if not (found := re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", max_time)):
            raise InputError(f"--max-time is a number with s, m or h, as in 30m (got {max_time})")
        seconds = float(found[1]) * SHORT[found[2]]
    return Tally(max_tokens=max_tokens, max_cost=max_cost, max_seconds=seconds, prices=read_written)


@dataclass(frozen=True)
class Batch:
    """What `generate` was asked to do."""

    out: Path
    sources: tuple[str, ...]
    column: str | None
    category: Category
    limit: int | None
    shuffle: int | None
    settings: Settings
    endpoints: tuple[str, ...]
    model: str | None
    concurrency: int | None
    sequential: bool
    retry_failed: bool
    tally: Tally

    async def play(self, on_ray: bool = False) -> dict[str, int]:
        """Plays what there is to play; every input of the run, counted by what has become of it."""
        if on_ray and not self.endpoints:
            raise InputError("--engine ray needs --endpoint URL, one that every node can reach")
        console = Console(stderr=True, highlight=False)
        async with AsyncExitStack() as stack:
            urls = self.endpoints or (None,)
            found = [read(source, self.column, self.category) for source in self.sources]
            endpoints = [await stack.enter_async_context(opened(url, self.model)) for url in urls]
            if len(names := {(each.name, each.digest) for each in endpoints}) > 1:
                told = ", ".join(sorted(name for name, _ in names))
                raise InputError(f"the endpoints serve different models: {told}; a run is of one")
            run = stack.enter_context(Run(self.out, self.settings, endpoints[0].name, endpoints[0].digest))
            if found:
                run.take(chain.from_iterable(found), self.limit, self.shuffle)
            only = run.retry_failed() if self.retry_failed else None
            counts = run.counts()
            self.tally.total = counts.get("waiting", 0) + counts.get("again", 0) if only is None else only
            self._heed_interrupts(console)
            with _progress(console) as progress:
                shown = asyncio.create_task(_show(progress, self.tally))
                try:
                    if on_ray:
                        from .ray_engine import generate_on_ray

                        await generate_on_ray(run, endpoints, self.tally, self.concurrency or 8, self.retry_failed)
                    else:
                        servers = [
                            Server(each, self.tally, fixed=self.concurrency, sequential=self.sequential)
                            for each in endpoints
                        ]
                        await generate(run, servers, self.tally, only_failed=self.retry_failed)
                finally:
                    shown.cancel()
                    _update(progress, self.tally)
            counts = run.counts()
            _summary(console, run, counts, self.tally)
        return counts

    def _heed_interrupts(self, console: Console) -> None:
        """The first Ctrl-C lets the calls under way end; the second is an ordinary one."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            self.tally.stop = INTERRUPT
            loop.remove_signal_handler(signal.SIGINT)
            console.print("Stopping after the calls under way; Ctrl-C again stops at once.")

        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGINT, stop)


def _progress(console: Console) -> Progress:
    columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
    return Progress(*columns, console=console, disable=not console.is_terminal, auto_refresh=False)


async def _show(progress: Progress, tally: Tally) -> None:
    """Looks at the account twice a second; nothing that plays scenes waits for it."""
    progress.add_task("", total=tally.total, figures="")
    while not progress.disable:
        _update(progress, tally)
        await asyncio.sleep(0.5)


def _update(progress: Progress, tally: Tally) -> None:
    ended, seconds = tally.done + tally.failed, max(tally.seconds, 1e-3)
    rate = ended / seconds
    left = f"{(tally.total - ended) / rate / 60:,.0f} min left" if ended else "time left unknown yet"
    figures = (
        f"{tally.failed} failed · {rate * 3600:,.0f} scenes/h · {tally.tokens / seconds:,.0f} tokens/s · "
        f"{tally.in_flight} calls in flight · {left}"
    )
    for task in progress.task_ids:
        progress.update(task, completed=ended, total=tally.total, figures=figures)
    progress.refresh()


def _summary(console: Console, run: Run, counts: dict[str, int], tally: Tally) -> None:
    """Every input counted once, and the first of those that could not be used or played."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for became, count in counts.items():
        table.add_row(became, f"{count:,}")
    table.add_row("total", f"{sum(counts.values()):,}")
    console.print(table)
    for place, state, reason in run.faults(SHOWN):
        console.print(Text(f"{place}: {state}: {shorten(reason, 200)}"), soft_wrap=True)
    usage = tally.usage
    tokens = f"{usage.prompt:,} prompt ({usage.cached:,} cached), {usage.generated:,} generated"
    cost = f" · cost {tally.cost:.2f}" if tally.max_cost is not None else ""
    console.print(f"{tally.calls:,} calls · tokens: {tokens} · {tally.seconds:,.1f} s{cost}", soft_wrap=True)
    if tally.stop:
        console.print(f"Stopped: {tally.stop}. The same command goes on from here.")
