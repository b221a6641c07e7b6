"""The same run on a Ray cluster: stateless workers answer questions, and this process alone writes the answers.

The only module that imports Ray. A worker sends back an answer with its calls, and the run keeps what it would have
kept on one machine. If a node dies before an answer came back, another worker answers the question. It is written once.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from ..errors import ClusterError, InputError, Refused, Unreachable
from ..llm.endpoint import Endpoint
from ..llm.open import key
from ..llm.pool import Server, Tally
from ..llm.recorded import Recorded
from ..methods import METHODS, Setup, last
from ..store import Store
from ..types import Answer, Question, Sampling, Usage, shorten
from .inputs import Input
from .run import Run
from .schedule import PATIENCE, PROBE, TRIES, blame_for, given_up


async def generate_on_ray(
    run: Run, endpoints: Sequence[Endpoint], tally: Tally, at_once: int, only_failed: bool = False
) -> None:
    """Answers the waiting inputs of `run` on the cluster that RAY_ADDRESS names, or on one that it starts here.

    `at_once` is the number of questions in a batch. Each node has one worker, which takes several batches at a time.
    Budgets are checked between answers. A question whose server failed is asked again in another pass over the cluster.
    Raises InputError without Ray, ClusterError, and Refused and Unreachable as `generate` does.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install 'matrix-align[ray]'") from None
    where = os.environ.get("RAY_ADDRESS", "")
    try:
        if named := re.fullmatch(
            r"(?:ray://)?(.+):(\d+)", where
        ):  # if nobody listens there, Ray would wait for minutes
            socket.create_connection((named[1], int(named[2])), timeout=10).close()
        if not ray.is_initialized():
            ray.init(log_to_driver=False, configure_logging=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
    except Exception as error:  # Ray raises many kinds
        cluster = f"RAY_ADDRESS, {where}" if where else "a cluster made here"
        raise ClusterError(f"can't use Ray ({cluster}): {shorten(str(error), 200)}") from None
    left = {f"{entry.place}\n{entry.question_id}": entry for entry in run.inputs.waiting(only_failed)}
    tries: Counter[str] = Counter()
    begun: dict[str, str] = {}  # the calls of answers that a server broke off
    tally.answered = time.monotonic()
    while left and not tally.stopped():
        broken: list[dict[str, Any]] = []
        ended = 0
        results = _played(left, begun, endpoints, run, at_once)
        try:
            while not tally.stopped() and (row := await asyncio.to_thread(_next, results)):
                run.store.unpack(row["calls"])
                tally.calls += row["asked"]
                tally.usage += Usage.model_validate_json(row["usage"])
                if row["blame"] == "all":
                    raise Refused(row["error"])
                if row["blame"] in ("call", "server"):
                    begun[row["id"]] = to_json([from_json(row["calls"])[0], []]).decode()
                    tally.trouble = row["error"]
                    broken.append(row)
                else:
                    ended += 1
                    _keep(run, left.pop(row["id"]), row, tally)
                if row["asked"] or row["blame"] != "server":
                    tally.answered = time.monotonic()
        finally:  # now, not when it is collected as garbage: it reports to the cluster, which may be gone by then
            with suppress(ValueError):  # a thread that was waiting for a row has not come back yet
                results.close()
        for row in broken:
            there = row["blame"] == "call" or ended > 0
            tries[row["id"]] = 0 if row["asked"] else tries[row["id"]] + there
            if tries[row["id"]] >= TRIES:
                _keep(run, left.pop(row["id"]), row, tally)
        if broken and time.monotonic() - tally.answered > PATIENCE:
            raise Unreachable(given_up(tally.trouble))
        if broken:
            await asyncio.sleep(PROBE)


def _played(
    left: dict[str, Input], begun: dict[str, str], endpoints: Sequence[Endpoint], run: Run, at_once: int
) -> Generator[dict[str, Any], None, None]:
    """One pass over the cluster. Yields a row for each question, batch by batch as they end."""
    import ray

    rows = [
        {"id": id, "question": entry.question.model_dump_json(), "calls": begun.get(id, "")}
        for id, entry in left.items()
    ]
    given = {
        "urls": [endpoint.url for endpoint in endpoints],
        "model": endpoints[0].name,
        "digest": endpoints[0].digest,
        "key": key(),
        "setup": _packed(run.setup),
        "unusable": dict(run.store.unusable_replies()),
    }
    nodes = sum(node["Alive"] for node in ray.nodes())
    played = ray.data.from_items(rows, override_num_blocks=max(1, len(rows) // at_once)).map_batches(
        _Worker, fn_constructor_kwargs=given, batch_size=at_once, concurrency=(1, nodes), num_cpus=1
    )
    yield from played.iter_rows()


def _next(results: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return next(results, None)
    except Exception as error:  # Ray and its own libraries raise many kinds
        raise ClusterError(f"the run on Ray broke: {shorten(str(error), 300)}; the same command resumes") from None


def _keep(run: Run, entry: Input, row: dict[str, Any], tally: Tally) -> None:
    answer = Answer.model_validate_json(row["answer"])
    run.inputs.close(entry, answer)
    tally.count(answer)


def _packed(setup: Setup) -> tuple[str, str, str]:
    """A setup in the form in which it is sent to a worker, with the name of its method."""
    return setup.method.name, setup.settings.model_dump_json(), setup.sampling.model_dump_json()


def _unpacked(packed: tuple[str, str, str]) -> Setup:
    name, settings, sampling = packed
    method = METHODS[name]
    return Setup(method, method.settings.model_validate_json(settings), Sampling.model_validate_json(sampling))


class _Worker:
    """Answers batches of questions: all of a batch at the same time, each answer on one server."""

    def __init__(
        self,
        urls: list[str],
        model: str,
        digest: str,
        key: str | None,
        setup: tuple[str, str, str],
        unusable: dict[str, int],
    ) -> None:
        self._endpoints = [Endpoint(url, model, digest=digest, key=key) for url in urls]
        self._setup = _unpacked(setup)
        self._unusable = unusable
        self._opened: asyncio.Task[list[Endpoint]] | None = None

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._open())
        endpoints = await self._opened
        rows = zip(batch["id"], batch["question"], batch["calls"], strict=True)
        jobs = [
            asyncio.ensure_future(self._play(str(id), str(question), str(calls), endpoints[number % len(endpoints)]))
            for number, (id, question, calls) in enumerate(rows)
        ]
        for job in asyncio.as_completed(jobs):
            yield {name: [value] for name, value in (await job).items()}

    async def _open(self) -> list[Endpoint]:
        return [await endpoint.__aenter__() for endpoint in self._endpoints]

    async def _play(self, id: str, question: str, calls: str, endpoint: Endpoint) -> dict[str, Any]:
        """One answer with its calls. A record in memory keeps the calls until they are sent."""
        with Store(Path(":memory:")) as store:
            if calls:
                store.unpack(calls)
            store.unusable_replies().update(self._unusable)
            server = Server(endpoint, tally := Tally())
            asked = Question.model_validate_json(question)
            answer, error = await last(self._setup.answer(asked, Recorded(server, store)))
            return {
                "id": id,
                "answer": answer.model_dump_json(),
                "calls": store.packed(),
                "usage": tally.usage.model_dump_json(),
                "asked": tally.calls,
                "blame": await blame_for(error, endpoint) if error else "",
                "error": str(error or ""),
            }
