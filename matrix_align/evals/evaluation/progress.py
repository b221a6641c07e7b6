"""The progress of an evaluation on standard error: which cell of how many, and about how long it will take.

Reads the account (`Tally`) from outside; nothing that asks a model waits for it. Knows no run.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from ...llm.pool import Tally
from ...types import counted, shorten

PERIOD = 0.5  # seconds between two looks at the account


class Progress:
    """Lines and a bar on `console`. Without a terminal there are only the lines."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console = console
        self._tally = tally
        self._paces: defaultdict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))  # by method: answers, seconds

    def say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)

    @asynccontextmanager
    async def cell(
        self, number: int, of: int, benchmark: str, method: str, left: int, ahead: Sequence[tuple[str, int]]
    ) -> AsyncIterator[None]:
        """Shows one cell with `left` questions until the block ends. `ahead`: later cells' methods and counts."""
        self.say(f"cell {number} of {of}: {benchmark}, {method}: {f'{left:,} to answer' if left else 'all answered'}")
        tally = self._tally
        ended, seconds = tally.done + tally.failed, tally.seconds
        answers_before, seconds_before = self._paces[method]

        def figures() -> tuple[int, str]:
            now = tally.done + tally.failed - ended
            self._paces[method] = (answers_before + now, seconds_before + tally.seconds - seconds)
            time = self._time_left([(method, left - now), *ahead])
            return now, f"{counted(tally.in_flight, 'call')}{time}"

        async with self._bar(left, figures):
            yield

    @asynccontextmanager
    async def counting(self, what: str, total: int, done: Sequence[object]) -> AsyncIterator[None]:
        """Shows how many of `total` things the growing list `done` holds, until the block ends."""
        self.say(f"{what}: {total:,}")
        tally = self._tally
        began = tally.seconds

        def figures() -> tuple[int, str]:
            rest = (total - len(done)) * (tally.seconds - began) / len(done) if done else 0.0
            return len(done), _told(rest)

        async with self._bar(total, figures):
            yield

    def _time_left(self, work: Sequence[tuple[str, int]]) -> str:
        """About how long the rest takes. A method of which no pace is known yet counts like the mean of the others."""
        known = {method: seconds / answers for method, (answers, seconds) in self._paces.items() if answers}
        if not known:
            return ""
        usual = sum(known.values()) / len(known)
        return _told(sum(questions * known.get(method, usual) for method, questions in work))

    @asynccontextmanager
    async def _bar(self, total: int, figures: Callable[[], tuple[int, str]]) -> AsyncIterator[None]:
        columns = bars.BarColumn(20), bars.MofNCompleteColumn(), bars.TextColumn("{task.description}")
        hidden = not self._console.is_terminal
        with bars.Progress(*columns, console=self._console, disable=hidden, auto_refresh=False) as progress:
            task = progress.add_task("", total=total)

            def update() -> None:
                done, text = figures()
                progress.update(task, completed=done, description=text, refresh=True)

            async def watch() -> None:
                told = ""
                while True:
                    if told != self._tally.trouble:
                        told = self._tally.trouble
                        line = shorten(told, 300) if told else "The servers answer again."
                        progress.console.print(Text(line), soft_wrap=True)
                    update()
                    await asyncio.sleep(PERIOD)

            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
                update()


def _told(seconds: float) -> str:
    if seconds <= 0:
        return ""
    if seconds > 7200:
        return f" · about {seconds / 3600:,.0f} h left"
    return f" · about {seconds / 60:,.0f} min left" if seconds > 120 else f" · about {seconds:.0f} s left"
