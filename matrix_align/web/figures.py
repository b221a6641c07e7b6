"""What the app has done, for Prometheus, and each request to the gateway as one line of JSON.

Neither holds a word of a question or an answer, nor a key.
"""

from __future__ import annotations

import logging
import time
from asyncio import Semaphore
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..types import Answer, Usage

log = logging.getLogger("matrix_align.gateway")
OURS = "matrix_align"
SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1)


@dataclass
class Account:
    """One request. `way` is "passed", "bypassed", a method's name, or "refused" before that is known; `status` says 500
    until something is sent.

    `received` is when its body was whole. `upstream` are the seconds in the model's server, once that has answered in
    full. `triage` is what the call of `simulate: auto` cost, if one was made.
    """

    way: str = "refused"
    status: int = 500
    upstream: float | None = None
    answer: Answer | None = None
    triage: Usage | None = None
    began: float = field(default_factory=time.perf_counter)
    received: float = 0.0


class Figures:
    """Counts requests to the gateway, and the answers of methods, wherever they were begun."""

    def __init__(self) -> None:
        self.registry = here = CollectorRegistry()
        self._requests = Counter(f"{OURS}_requests", "Requests, by way and status", ["way", "status"], registry=here)
        self._seconds = Histogram(
            f"{OURS}_request_seconds", "Seconds of a request", ["way"], buckets=SECONDS, registry=here
        )
        self._overhead = Histogram(
            f"{OURS}_overhead_seconds",
            "Seconds of a passed request, from its last byte, outside the model's server",
            buckets=OVERHEAD,
            registry=here,
        )
        self._calls = Counter(f"{OURS}_calls", "Calls to the model, by what for", ["method"], registry=here)
        self._tokens = Counter(f"{OURS}_tokens", "Tokens behind answers", ["method", "kind"], registry=here)
        self._answers = Counter(f"{OURS}_answers", "Answers, by how they ended", ["method", "ending"], registry=here)
        self._playing = Gauge(f"{OURS}_answers_being_made", "Answers of methods that are being made", registry=here)
        self._waiting = Gauge(f"{OURS}_answers_waiting", "Those that wait for their turn", registry=here)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    @asynccontextmanager
    async def turn(self, turns: Semaphore) -> AsyncIterator[None]:
        """A block in which an answer is made, once it is its turn. Counts it as waiting, then as being made."""
        with self._waiting.track_inprogress():
            await turns.acquire()
        try:
            with self._playing.track_inprogress():
                yield
        finally:
            turns.release()

    def note(self, account: Account) -> None:
        """Counts a request that has ended, and logs it."""
        now = time.perf_counter()
        seconds = now - account.began
        self._requests.labels(account.way, account.status).inc()
        self._seconds.labels(account.way).observe(seconds)
        if account.way == "passed" and account.upstream is not None:
            self._overhead.observe(max(0.0, now - account.received - account.upstream))
        line: dict[str, object] = {"way": account.way, "status": account.status, "seconds": round(seconds, 4)}
        if spent := account.triage:
            self._calls.labels("triage").inc()
            self._tokens.labels("triage", "prompt").inc(spent.prompt_tokens)
            self._tokens.labels("triage", "completion").inc(spent.completion_tokens)
        if answer := account.answer:
            self.count(answer)
            usage, fresh = answer.usage, sum(not call.recorded for call in answer.calls)
            line |= {"answer": answer.id, "state": answer.state, "calls": len(answer.calls), "fresh": fresh}
            line |= {"tokens": usage.prompt_tokens + usage.completion_tokens}
        log.info("%s", account.way, extra={"fields": line})

    def count(self, answer: Answer) -> None:
        """Counts an answer that has ended, and those of its calls that the record did not have."""
        fresh = [call.usage for call in answer.calls if not call.recorded]
        self._calls.labels(answer.method).inc(len(fresh))
        self._tokens.labels(answer.method, "prompt").inc(sum(usage.prompt_tokens for usage in fresh))
        self._tokens.labels(answer.method, "completion").inc(sum(usage.completion_tokens for usage in fresh))
        self._answers.labels(answer.method, answer.state).inc()
