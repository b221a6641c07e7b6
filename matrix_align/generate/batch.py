"""The work of the `generate` command: sources into the run, servers opened, progress shown, the summary printed.

Owns what a person sees of a run while it goes on. Knows neither how scenes are scheduled nor how they are kept.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table
from rich.text import Text

from ..data.sources import Category, questions_from
from ..errors import InputError
from ..llm.open import opened
from ..llm.pool import Server, Tally
from ..types import Settings, shorten
from .run import Run
from .schedule import generate

INTERRUPT = "interrupted"
SHOWN = 10  # rows that could not be used or played, named one by one
SHORT = {"s": 1, "m": 60, "h": 3600}


def budget(max_tokens: int | None, max_cost: float | None, prices: str | None, max_time: str | None) -> Tally:
    """The limits of a run as its command line gives them. Raises InputError."""
    if max_cost is not None and prices is None:
        raise InputError("--max-cost needs --prices READ,WRITTEN, those of a million tokens")
    read_written = (0.0, 0.0)
    if prices:
        try:
            one, other = (float(price) for price in prices.split(","))
        except ValueError:
            one = other = -1.0
        if not (0 <= one < float("inf") and 0 <= other < float("inf") and one + other > 0):
            raise InputError(f"--prices is two numbers with a comma, as in 0.15,0.60 (got {prices})")
        read_written = one, other
    if max_cost is not None and not max_cost < float("inf"):
        raise InputError(f"--max-cost is a number (got {max_cost})")
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
    adapter: Path | None
    concurrency: int | None
    sequential: bool
    retry_failed: bool
    tally: Tally

    async def play(self, on_ray: bool = False) -> dict[str, int]:
        """Plays what there is to play; every input of the run, counted by what has become of it."""
        if on_ray and not self.endpoints:
            raise InputError("--engine ray needs --endpoint URL, one that every node can reach")
        if on_ray and self.sequential:
            raise InputError("--sequential is for one machine; give it without --engine ray")
        made_with = Run.described(self.out).get("model", {})
        if made_with and not made_with.get("digest") and not self.endpoints:
            raise InputError(f"{self.out} was made with {made_with.get('name')} on a server; give its --endpoint URL")
        console = Console(stderr=True, highlight=False)
        async with AsyncExitStack() as stack:
            urls = tuple(dict.fromkeys(self.endpoints)) or (None,)
            found = [questions_from(source, self.column, self.category) for source in self.sources]
            endpoints = [await stack.enter_async_context(opened(url, self.model, self.adapter)) for url in urls]
            if len(names := {(each.name, each.digest) for each in endpoints}) > 1:
                told = ", ".join(sorted(name for name, _ in names))
                raise InputError(f"the endpoints serve different models: {told}; a run is of one")
            run = stack.enter_context(Run(self.out, self.settings, endpoints[0].name, endpoints[0].digest))
            if found and (changed := run.take(chain.from_iterable(found), self.limit, self.shuffle)):
                console.print(f"{changed:,} questions of the run have another category now")
            only = run.retry_failed() if self.retry_failed else None
            counts = run.counts()
            self.tally.total = counts.get("waiting", 0) + counts.get("again", 0) if only is None else only
            self._heed_interrupts(console)
            async with showing(self.tally, console):
                one_by_one = asyncio.Lock() if self.sequential else None
                if on_ray:
                    from .ray import generate_on_ray

                    await generate_on_ray(run, endpoints, self.tally, self.concurrency or 8, self.retry_failed)
                else:
                    servers = [
                        Server(each, self.tally, fixed=self.concurrency, one_by_one=one_by_one) for each in endpoints
                    ]
                    await generate(run, servers, self.tally, only_failed=self.retry_failed)
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


@asynccontextmanager
async def showing(tally: Tally, console: Console) -> AsyncIterator[None]:
    """Shows how far the run is, until the block ends."""
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
    """Looks at the account twice a second; nothing that plays scenes waits for it. Troubles are told in any case."""
    progress.add_task("", total=tally.total, figures="")
    told = ""
    while True:
        if told != tally.trouble:
            told = tally.trouble
            progress.console.print(Text(shorten(told, 300) if told else "Going on."), soft_wrap=True)
        _update(progress, tally)
        await asyncio.sleep(0.5)


def _update(progress: Progress, tally: Tally) -> None:
    ended, seconds = tally.done + tally.failed, max(tally.seconds, 1e-3)
    rate = ended / seconds
    wanted = (tally.total - ended) / rate if ended else 0.0
    left = f" · {wanted / 60:,.0f} min left" if wanted > 120 else f" · {wanted:.0f} s left" if ended else ""
    figures = (
        f"{tally.failed} failed · {rate * 3600:,.0f} scenes/h · {tally.tokens / seconds:,.0f} tokens/s · "
        f"{tally.in_flight} calls{left}"
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
    failed = sum(count for became, count in counts.items() if became.startswith("failed"))
    if (more := failed + counts.get("bad row", 0) - SHOWN) > 0:
        console.print(f"… and {more:,} more")
    if failed:
        console.print(
            f"Failed scenes: --retry-failed plays them again; `matrix-align scenes --store {run.folder / 'record.db'}` "
            "lists them",
            soft_wrap=True,
        )
    usage = tally.usage
    tokens = f"{usage.prompt_tokens:,} prompt ({usage.cached_tokens:,} cached), {usage.completion_tokens:,} generated"
    cost = f" · cost {tally.cost:,.2f}" if any(tally.prices) else ""
    console.print(f"This time: {tally.calls:,} calls · tokens: {tokens} · {tally.seconds:,.1f} s{cost}", soft_wrap=True)
    if tally.stop and tally.stop != INTERRUPT:  # that is said by who stops
        console.print(f"Stopped: {tally.stop}. The same command goes on from here.", soft_wrap=True)
