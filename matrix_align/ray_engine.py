"""The same run on a Ray cluster: stateless workers play scenes, and one writer, here, keeps them.

The only module that imports Ray. A worker sends back a scene with its calls; what is written is what one machine would
have written. A scene that was not sent back before its node died is played again by another worker, and written once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from .endpoint import Endpoint
from .errors import InputError, MatrixAlignError, ModelError
from .models import key
from .run import Input, Run
from .servers import Tally
from .simulation.scene import play
from .store import Recorded, Store
from .types import Question, Scene, Settings


async def generate_on_ray(
    run: Run, urls: Sequence[str], model: str | None, tally: Tally, at_once: int, only_failed: bool = False
) -> None:
    """Plays what waits in `run` on the cluster that RAY_ADDRESS names, or on one made here.

    `at_once` is the number of scenes in a batch; a worker, one a node, plays some batches at a time. A budget is looked
    at between scenes. Raises InputError without Ray or endpoints, and what the workers raise.
    """
    if not urls:
        raise InputError("--engine ray needs --endpoint URL, one that every node can reach")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install 'matrix-align[ray]'") from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False, configure_logging=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    entries = {f"{entry.place}\n{entry.question_id}": entry for entry in run.waiting(only_failed)}
    if not entries:
        return
    rows = [{"id": id, "question": entry.question.model_dump_json()} for id, entry in entries.items()]
    given = {"urls": list(urls), "model": model, "key": key(), "settings": run.settings.model_dump_json()}
    nodes = sum(node["Alive"] for node in ray.nodes())
    played = ray.data.from_items(rows, override_num_blocks=max(1, len(rows) // at_once)).map_batches(
        _Worker, fn_constructor_kwargs=given, batch_size=at_once, concurrency=(1, nodes), num_cpus=1
    )
    results: Iterator[dict[str, Any]] = iter(played.iter_rows())
    while not tally.stopped() and (row := await asyncio.to_thread(next, results, None)):
        _keep(run, entries[row["id"]], row, tally)


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

    def __init__(self, urls: list[str], model: str | None, key: str | None, settings: str) -> None:
        self._endpoints = [Endpoint(url, model, key=key) for url in urls]
        self._settings = Settings.model_validate_json(settings)
        self._opened: asyncio.Task[list[Endpoint]] | None = None

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._open())
        endpoints = await self._opened
        pairs = list(zip(batch["id"], batch["question"], strict=True))
        jobs = [
            asyncio.ensure_future(self._play(str(id), str(question), endpoints[number % len(endpoints)]))
            for number, (id, question) in enumerate(pairs)
        ]
        for job in asyncio.as_completed(jobs):
            yield {name: [value] for name, value in (await job).items()}

    async def _open(self) -> list[Endpoint]:
        return [await endpoint.__aenter__() for endpoint in self._endpoints]

    async def _play(self, id: str, question: str, endpoint: Endpoint) -> dict[str, Any]:
        """One scene, with the calls it rests on; a record in memory keeps them until they are sent."""
        with Store(Path(":memory:")) as store:
            scene: Scene | None = None
            try:
                asked = Question.model_validate_json(question)
                async for scene in play(asked, Recorded(endpoint, store), self._settings):
                    pass
            except ModelError:
                pass  # the scene carries it
            except MatrixAlignError as error:
                raise RuntimeError(str(error)) from None
            assert scene
            return {"id": id, "scene": scene.model_dump_json(), "calls": store.packed_calls()}
