"""Many questions: answers every waiting input of a run, on one server or on several at the same time.

Owns which question is answered when and where, and what happens after a failed call. If the model or the question is to
blame, the answer is kept with its error. If the server is to blame, the question is tried again, later or on another
server. Knows no HTTP, no Ray and no method.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Literal

from ..errors import BadReply, ModelError, QuotaExceeded, Refused, Unreachable
from ..llm.endpoint import Endpoint
from ..llm.pool import Server, Stopped, Tally
from ..llm.recorded import Recorded
from ..methods import last
from ..types import Answer
from .inputs import Input
from .run import Run

PATIENCE = 300.0  # seconds without an answer from any server before the run gives up
SHOWN = 0.02  # seconds between two states of growing answers that are written, so that thousands at once cost little
PROBE = 2.0  # seconds between checks whether a server is back
TRIES = 5  # how often in a row one call may fail on a server that is there, before the answer counts as failed

Blame = Literal["answer", "call", "server", "all"]


async def generate(run: Run, servers: Sequence[Server], tally: Tally, only_failed: bool = False) -> None:
    """Answers the waiting inputs of `run`, or only those that failed, until all are done or `tally` says to stop.

    All calls of one answer go to one server, so that its prompt cache serves them. Raises Refused if a server refuses
    every request, Unreachable if no server has answered for PATIENCE seconds, and StoreError. In any case, finished
    answers are in the run.
    """
    models = {server: Recorded(server, run.store) for server in servers}
    waiting, again, tries = run.inputs.waiting(only_failed), deque[Input](), Counter[Input]()
    broke_off: dict[Input, float] = {}  # when each input last failed because of a server
    wake = asyncio.Event()  # an answer has ended, or a server is back
    tally.answered = time.monotonic()

    written = 0.0  # when a state of a growing answer was last written

    async def shown(states: AsyncIterator[Answer]) -> AsyncIterator[Answer]:
        """The same states. The record gets some of them, so that a page can follow it, and the last one if it stops."""
        nonlocal written
        unwritten: Answer | None = None
        try:
            async for answer in states:
                if answer.state == "unfinished":  # what stops an answer makes it "failed" at last, which it is not
                    unwritten = answer
                    if time.monotonic() - written >= SHOWN:
                        run.store.save(answer)
                        written, unwritten = time.monotonic(), None
                yield answer
        except Stopped:
            if unwritten:
                run.store.save(unwritten)
            raise

    async def one(entry: Input, server: Server) -> None:
        try:
            answer, error = await last(shown(run.setup.answer(entry.question, models[server])))
            blame = await blame_for(error, server.endpoint)
            if blame == "all":
                assert error
                raise error
            if blame in ("call", "server") and not failed(entry, answer, server, blame):
                tally.trouble = str(error)
                again.append(entry)
                return
            run.inputs.close(entry, answer)
            tally.count(answer)
        except Stopped:
            tally.unfinished += 1  # its input stays waiting, and its calls are in the record
        finally:
            server.answers -= 1
            wake.set()

    def failed(entry: Input, answer: Answer, server: Server, blame: Blame) -> bool:
        """Whether one call of this answer has failed too often, on servers that had answered before."""
        if blame == "call":
            server.seen()
            server.ease()
        elif server.down_since is None:  # others take its questions until it is back
            server.down_since = time.monotonic()
            returns.append(group.create_task(back(server)))
        was_there = server.answered is not None and server.answered > broke_off.get(entry, 0.0)
        broke_off[entry] = time.monotonic()
        tries[entry] = 0 if progressed(answer) else tries[entry] + was_there
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
                        server.answers += 1
                        group.create_task(one(entry, server))
                under_way = sum(server.answers for server in servers)
                if not under_way and (tally.stopped() or not (left or again)):
                    break
                if not under_way and time.monotonic() - tally.answered > PATIENCE:
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


def given_up(trouble: str) -> str:
    return f"no server has answered for {PATIENCE:g} s; the same command resumes ({trouble})"


def progressed(answer: Answer) -> bool:
    """Whether a server answered any of the calls."""
    return any(not call.recorded for call in answer.calls)


async def blame_for(error: ModelError | None, endpoint: Endpoint) -> Blame:
    """What is to blame for a failed answer. In doubt, the server is asked for one token.

    "answer": it would fail again. "call": the server is there, so either this call is at fault or the trouble is over.
    "server": it does not answer. "all": it refuses every request, or the account is empty.
    """
    if isinstance(error, QuotaExceeded):
        return "all"
    if error is None or isinstance(error, BadReply) or (isinstance(error, Refused) and error.mendable):
        return "answer"
    there = await endpoint.answers()
    if there is None:
        return "all"
    if not there:
        return "server"
    return "answer" if isinstance(error, Refused) else "call"
