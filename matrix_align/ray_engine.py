"""The same run on a Ray cluster: stateless workers play scenes, and one writer, here, keeps them.

The only module that imports Ray. A worker sends back a scene with its calls; what is written is what one machine would
have written. A scene that was not sent back before its node died is played again by another worker, and written once.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from .endpoint import Endpoint
from .errors import ClusterError, InputError, Overloaded, Refused, Unreachable
from .generate import PATIENCE, PROBE, TRIES, whole
from .models import key
from .run import Input, Run
from .servers import Tally
from .store import Recorded, Store
from .types import Question, Scene, Settings, shorten


async def generate_on_ray(
    run: Run, endpoints: Sequence[Endpoint], tally: Tally, at_once: int, only_failed: bool = False
) -> None:
    """Plays what waits in `run` on the cluster that RAY_ADDRESS names, or on one made here.

    `at_once` is the number of scenes in a batch; a worker, one a node, plays some batches at a time. A budget is looked
    at between scenes. A scene that a server breaks off is played again in another pass over the cluster. Raises
    InputError without Ray, ClusterError, and Refused and Unreachable as `generate` does.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install 'matrix-align[ray]'") from None
    where = os.environ.get("RAY_ADDRESS", "")
    try:
        if named := re.fullmatch(r"(?:ray://)?(.+):(\d+)", where):  # where nobody listens, Ray waits for minutes
            socket.create_connection((named[1], int(named[2])), timeout=10).close()
        if not ray.is_initialized():
            ray.init(log_to_driver=False, configure_logging=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
    except Exception as error:  # whatever Ray raises for an address, a port, a disk
        cluster = f"RAY_ADDRESS, {where}" if where else "a cluster made here"
        raise ClusterError(f"can't use Ray ({cluster}): {shorten(str(error), 200)}") from None
    left = {f"{entry.place}\n{entry.question_id}": entry for entry in run.waiting(only_failed)}
    tries: Counter[str] = Counter()
    while left and not tally.stopped():
        again, trouble, ended = list[str](), "", 0
        results = _played(left, tries, endpoints, run.settings, at_once)
        while not tally.stopped() and (row := await asyncio.to_thread(_next, results)):
            if row["refused"]:
                raise Refused(row["refused"])
            if row["trouble"]:
                again.append(row["id"])
                trouble = row["trouble"]
            else:
                _keep(run, left.pop(row["id"]), row, tally)
                ended += 1
                tally.answered = time.monotonic()
        if again and time.monotonic() - tally.answered > PATIENCE:
            raise Unreachable(
                f"no server has answered for {PATIENCE:g} s; the same command goes on from here ({trouble})"
            )
        if ended:  # otherwise the servers have failed, not these scenes
            tries.update(again)
        if again:
            await asyncio.sleep(PROBE)


def _played(
    left: dict[str, Input], tries: Counter[str], endpoints: Sequence[Endpoint], settings: Settings, at_once: int
) -> Iterator[dict[str, Any]]:
    """One pass over the cluster: a row for each question, in the order in which they end."""
    import ray

    rows = [
        {"id": id, "question": entry.question.model_dump_json(), "last": tries[id] >= TRIES}
        for id, entry in left.items()
    ]
    given = {
        "urls": [endpoint.url for endpoint in endpoints],
        "model": endpoints[0].name,
        "key": key(),
        "settings": settings.model_dump_json(),
    }
    nodes = sum(node["Alive"] for node in ray.nodes())
    played = ray.data.from_items(rows, override_num_blocks=max(1, len(rows) // at_once)).map_batches(
        _Worker, fn_constructor_kwargs=given, batch_size=at_once, concurrency=(1, nodes), num_cpus=1
    )
    return iter(played.iter_rows())


def _next(results: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    import ray

    try:
        return next(results, None)
    except ray.exceptions.RayError as error:
        raise ClusterError(f"the run on Ray broke: {shorten(str(error), 300)}; the same command goes on") from None


def _keep(run: Run, entry: Input, row: dict[str, Any], tally: Tally) -> None:
    scene = Scene.model_validate_json(row["scene"])
    run.store.put_calls(row["calls"])
    run.close(entry, scene)
    tally.failed += bool(scene.error)
    tally.done += not scene.error
    tally.calls += len(scene.calls)
    tally.usage += scene.usage


class _Worker:
    """Plays batches of questions; all of a batch at once, each scene on one server."""

    def __init__(self, urls: list[str], model: str, key: str | None, settings: str) -> None:
        self._endpoints = [Endpoint(url, model, key=key) for url in urls]
        self._settings = Settings.model_validate_json(settings)
        self._opened: asyncio.Task[list[Endpoint]] | None = None
        self._answered = False

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._open())
        endpoints = await self._opened
        rows = zip(batch["id"], batch["question"], batch["last"], strict=True)
        jobs = [
            asyncio.ensure_future(self._play(str(id), str(question), bool(last), endpoints[number % len(endpoints)]))
            for number, (id, question, last) in enumerate(rows)
        ]
        for job in asyncio.as_completed(jobs):
            yield {name: [value] for name, value in (await job).items()}

    async def _open(self) -> list[Endpoint]:
        return [await endpoint.__aenter__() for endpoint in self._endpoints]

    async def _play(self, id: str, question: str, last: bool, endpoint: Endpoint) -> dict[str, Any]:
        """One scene, with the calls it rests on; a record in memory keeps them until they are sent."""
        row = {"id": id, "scene": "", "calls": "", "trouble": "", "refused": ""}
        with Store(Path(":memory:")) as store:
            asked, model = Question.model_validate_json(question), Recorded(endpoint, store)
            try:
                scene = await whole(asked, model, self._settings, last, self._answered)
            except (Unreachable, Overloaded) as error:
                return {**row, "trouble": str(error)}
            except Refused as error:
                return {**row, "refused": str(error)}
            self._answered = True
            return {**row, "scene": scene.model_dump_json(), "calls": store.packed_calls()}
