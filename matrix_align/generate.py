"""Many questions: every waiting input of a run becomes one scene, on one server or on several at once.

Owns which scene is played when and where, and what becomes of one that fails: where the model is at fault the scene is
kept with its error; where the server is, it is played again, elsewhere or later. Knows no HTTP, no SQL and no Ray.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress

from .endpoint import Model
from .errors import ModelError, Overloaded, Refused, Unreachable
from .run import Input, Run
from .servers import Server, Stopped, Tally
from .simulation.scene import play
from .store import Recorded
from .types import Question, Scene, Settings

PATIENCE = 300.0  # seconds without any server, until the run gives up
PROBE = 2.0  # seconds between looks whether a server is back
TRIES = 5  # times a scene breaks off on servers that answer others, before it counts as failed
WRONG_HERE = (401, 402, 404)  # what a server that refuses one question so refuses to all
FLAGGED = 403  # likewise, unless it has answered others: then it is this question that it does not take


async def generate(run: Run, servers: Sequence[Server], tally: Tally, only_failed: bool = False) -> None:
    """Plays what waits in `run`, or just what failed before, until all is played or `tally` says to stop.

    All calls of a scene go to one server: its cache of prompts serves them. Raises Refused where a server refuses us,
    Unreachable where none has answered a call for PATIENCE seconds, and StoreError; whatever happens, scenes that were
    played to their end are in the run.
    """
    models = {server: Recorded(server, run.store) for server in servers}
    waiting, again, tries = run.waiting(only_failed), deque[Input](), Counter[str]()
    wake = asyncio.Event()  # a scene has ended, or a server is back
    trouble = ""  # what a server said last when it broke off a scene

    async def one(entry: Input, server: Server) -> None:
        before = tally.calls
        try:
            last = tries[entry.place] >= TRIES
            scene = await whole(entry.question, models[server], run.settings, last, tally.calls > 0)
        except (Unreachable, Overloaded) as error:
            nonlocal trouble
            trouble = str(error)
            answers = await server.endpoint.answers()
            tries[entry.place] += answers or tally.calls > before  # otherwise the server has failed, not the scene
            again.append(entry)
            if not answers and server.down_since is None:  # it rests, and others take its scenes
                server.down_since = time.monotonic()
                returns.append(group.create_task(back(server)))
        except Stopped:
            pass  # its input waits for the next time, and its calls are in the record
        else:
            run.close(entry, scene)
            tally.failed += bool(scene.error)
            tally.done += not scene.error
        finally:
            server.scenes -= 1
            wake.set()

    async def back(server: Server) -> None:
        await asyncio.sleep(PROBE)
        while not await server.endpoint.answers():  # noqa: ASYNC110 (another machine sets no event of ours)
            await asyncio.sleep(PROBE)
        server.down_since = None
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
                if trouble and not playing and time.monotonic() - tally.answered > PATIENCE:
                    raise Unreachable(
                        f"no server has answered for {PATIENCE:g} s; the same command goes on from here ({trouble})"
                    )
                with suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), PROBE)
                wake.clear()
                left = left or bool(again)
            for task in returns:
                task.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


async def whole(question: Question, model: Model, settings: Settings, last_try: bool, answered: bool) -> Scene:
    """The scene around a question, to its end, be that a failure.

    Raises Unreachable and Overloaded where it should be tried again, unless this is the `last_try`, and Refused where
    the server would refuse every other question too; `answered` says that it has taken others. Stopped goes through.
    """
    scene: Scene | None = None
    try:
        async for scene in play(question, model, settings):
            pass
    except Refused as error:
        if error.status in WRONG_HERE or (error.status == FLAGGED and not answered):
            raise
    except (Unreachable, Overloaded):
        if not last_try:
            raise
    except ModelError:
        pass  # the scene carries it
    assert scene, "play yields a scene, at least with its error"
    return scene
