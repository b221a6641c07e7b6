"""Many questions: every waiting input of a run becomes one scene, on one server or on several at once.

Owns which scene is played when and where, and what becomes of one that breaks off: where the model or the question is
at fault the scene is kept with its error; where the server is, it is played again, elsewhere or later. Knows no HTTP
and no Ray.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from ..errors import BadReply, ModelError, QuotaExceeded, Refused, Unreachable
from ..llm.endpoint import Endpoint
from ..llm.model import Model
from ..llm.pool import Server, Stopped, Tally
from ..llm.recorded import Recorded
from ..simulation.scene import play
from ..simulation.types import Scene
from ..types import Question, Settings
from .run import Input, Run

PATIENCE = 300.0  # seconds without an answer from any server, until the run gives up
PROBE = 2.0  # seconds between looks whether a server is back
TRIES = 5  # times in a row that a scene breaks off at the same call of a server that is there, before it has failed

Fault = Literal["scene", "call", "server", "all"]


async def generate(run: Run, servers: Sequence[Server], tally: Tally, only_failed: bool = False) -> None:
    """Plays what waits in `run`, or just what failed before, until all is played or `tally` says to stop.

    All calls of a scene go to one server: its cache of prompts serves them. Raises Refused where a server refuses
    whatever is asked, Unreachable where none has answered for PATIENCE seconds, and StoreError; whatever happens,
    scenes that were played to their end are in the run.
    """
    models = {server: Recorded(server, run.store) for server in servers}
    waiting, again, tries = run.waiting(only_failed), deque[Input](), Counter[Input]()
    broke_off: dict[Input, float] = {}  # when each scene last did
    wake = asyncio.Event()  # a scene has ended, or a server is back
    tally.answered = time.monotonic()

    async def one(entry: Input, server: Server) -> None:
        try:
            scene, error = await whole(entry.question, models[server], run.settings)
            fault = await fault_of(error, server.endpoint)
            if fault == "all":
                assert error
                raise error
            if fault in ("call", "server") and not failed(entry, scene, server, fault):
                tally.trouble = str(error)
                again.append(entry)
                return
            run.close(entry, scene)
            tally.failed += bool(scene.error)
            tally.done += not scene.error
        except Stopped:
            pass  # its input waits for the next time, and its calls are in the record
        finally:
            server.scenes -= 1
            wake.set()

    def failed(entry: Input, scene: Scene, server: Server, fault: Fault) -> bool:
        """Whether a scene that broke off has done so too often, at one call, on servers that were there before."""
        if fault == "call":
            server.seen()
            server.ease()
        elif server.down_since is None:  # it rests, and others take its scenes
            server.down_since = time.monotonic()
            returns.append(group.create_task(back(server)))
        was_there = server.answered is not None and server.answered > broke_off.get(entry, 0.0)
        broke_off[entry] = time.monotonic()
        tries[entry] = 0 if progressed(scene) else tries[entry] + was_there
        return tries[entry] >= TRIES

    async def back(server: Server) -> None:
        await asyncio.sleep(PROBE)
        while await server.endpoint.answers() is False:  # noqa: ASYNC110 (another machine sets no event of ours)
            await asyncio.sleep(PROBE)
        server.down_since, tally.trouble = None, ""
        server.seen()
        wake.set()

    returns: list[asyncio.Task[None]] = []
    try:
        async with asyncio.TaskGroup() as group:
            left = True
            while True:
                while left and not tally.stopped() and (server := max(servers, key=lambda each: each.free)).free > 0:
                    entry = again.popleft() if again else next(waiting, None)
                    left = entry is not None
                    if entry:
                        server.scenes += 1
                        group.create_task(one(entry, server))
                playing = sum(server.scenes for server in servers)
                if not playing and (tally.stopped() or not (left or again)):
                    break
                if not playing and time.monotonic() - tally.answered > PATIENCE:
                    raise Unreachable(given_up(tally.trouble))
                with suppress(TimeoutError):
                    async with asyncio.timeout(PROBE):
                        await wake.wait()
                wake.clear()
                left = left or bool(again)
            for task in returns:
                task.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


async def whole(question: Question, model: Model, settings: Settings) -> tuple[Scene, ModelError | None]:
    """The scene around a question, to its end, be that a failed call. Stopped and StoreError go through."""
    scene: Scene | None = None
    failed: ModelError | None = None
    try:
        async for scene in play(question, model, settings):
            pass
    except ModelError as error:
        failed = error
    assert scene, "play yields a scene, at least with its error"
    return scene, failed


def given_up(trouble: str) -> str:
    return f"no server has answered for {PATIENCE:g} s; the same command goes on from here ({trouble})"


def progressed(scene: Scene) -> bool:
    """Whether any call was answered anew."""
    return any(not call.recorded for call in scene.calls)


async def fault_of(error: ModelError | None, endpoint: Endpoint) -> Fault:
    """Whose fault it is that a scene broke off; where that is in doubt the server is asked for a word.

    "scene": asked again, it would fail again. "call": the server is there, so it may be that call, or have passed.
    "server": it does not answer. "all": it refuses whatever one asks, or nothing is left to pay it with.
    """
    if isinstance(error, QuotaExceeded):
        return "all"
    if error is None or isinstance(error, BadReply) or (isinstance(error, Refused) and error.mendable):
        return "scene"
    there = await endpoint.answers()
    if there is None:
        return "all"
    if not there:
        return "server"
    return "scene" if isinstance(error, Refused) else "call"
