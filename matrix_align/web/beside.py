"""What goes on beside requests: tasks of our own, and pages that stay open. Both hear that the server ends.

Knows no server and no page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Beside:
    """`ends` is set when the server begins to end. `tasks` are those under way; the server lets them end, as requests.

    A task must not raise.
    """

    def __init__(self) -> None:
        self.ends = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
