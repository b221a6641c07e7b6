"""Many questions: every waiting input of a run becomes one scene, on one server or on several at once.

Owns which scene is played when and where, and what becomes of one that fails: where the model is at fault the scene is
kept with its error; where the server is, it is played again, elsewhere or later. Knows no HTTP and no SQL.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress

from .errors import InputError, ModelError, Overloaded, Refused, Unreachable
from .run import Input, Run
from .servers import Server, Stopped, Tally
from .simulation.scene import play
from .store import Recorded
from .types import Scene

PATIENCE = 300.0  # seconds without any server, until the run gives up
PROBE = 2.0  # seconds between looks whether a server is back
TRIES = 5  # times a scene is begun on servers that break off, before it counts as failed
WRONG_HERE = (401, 402, 404)  # what a server that refuses one question so refuses to all
FLAGGED = 403  # likewise, unless it has answered others: then it is this question that it does not take


async def generate(run: Run, servers: Sequence[Server], tally: Tally, only_failed: bool = False) -> None:
    """Plays what waits in `run`, or just what failed before, until all is played or `tally` says to stop.

    All calls of a scene go to one server, so that its cache of prompts serves them. Raises InputError where the servers
    have different models, Refused where one refuses us, Unreachable where none has answered for PATIENCE seconds, and
    StoreError; whatever happens, scenes that were played to their end are in the run.
    """
    if len(names := {(server.name, server.digest) for server in servers}) > 1:
        raise InputError(f"the endpoints serve different models: {', '.join(sorted(name for name, _ in names))}")
    models = {server: Recorded(server, run.store) for server in servers}
    waiting, again, tries = run.waiting(only_failed), deque[Input](), Counter[str]()
    wake = asyncio.Event()  # a scene has ended, or a server is back

    async def one(entry: Input, server: Server) -> None:
        try:
            scene = await _whole(entry, models[server], run, tries[entry.place] >= TRIES, tally.calls > 0)
        except (Unreachable, Overloaded):
            again.append(entry)
            tries[entry.place] += 1
            if server.down_since is None:  # it rests, and others take its scenes
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
        while not await server.endpoint.alive():  # noqa: ASYNC110 (another machine sets no event of ours)
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
                since = [server.down_since for server in servers]
                if not playing and all(down and time.monotonic() - down > PATIENCE for down in since):
                    raise Unreachable(f"no server has answered for {PATIENCE:g} s; the same command goes on from here")
                with suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), PROBE)
                wake.clear()
                left = left or bool(again)
            for task in returns:
                task.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


async def _whole(entry: Input, model: Recorded, run: Run, last_try: bool, answered: bool) -> Scene:
    """The scene of an input, to its end, be that a failure.

    Raises Stopped where the run is to end, Unreachable and Overloaded where it should be tried again, Refused where the
    server would refuse every other question too.
    """
    scene: Scene | None = None
    try:
        async for scene in play(entry.question, model, run.settings):
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
