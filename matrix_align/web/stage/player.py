"""Plays what was begun on a page: a scene around a new question, or a fork of one that is in the record.

A scene is played and recorded as `simulate` and the gateway do it, so the same question with the same settings is one
scene, wherever it was asked. Each state of an answer is written into the record, so that its page can follow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import ValidationError

from ...errors import InputError, MatrixAlignError, StoreError
from ...llm.recorded import Recorded
from ...methods import Setup
from ...plain import fault_in
from ...store import Store
from ...types import Answer, Question, Sampling
from ..beside import Beside
from ..figures import Figures
from ..replies import Refusal
from .fork import changed_in, check, fork_of

AT_ONCE = 2  # answers that are played; more wait
MOST = 32  # answers that are played or wait

log = logging.getLogger("matrix_align")


class Doing(NamedTuple):
    """What is done about an answer that was begun on a page, and since when (`time.monotonic`)."""

    state: Literal["waiting for its turn", "being played"]
    since: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since


class Player:
    """Plays with `model`, `beside` requests, and writes into `store`.

    `setup` is how a scene is played where its form leaves that open. `figures` count what is played.
    """

    def __init__(self, model: Recorded, store: Store, setup: Setup, beside: Beside, figures: Figures) -> None:
        self.setup = setup
        self._model = model
        self._store = store
        self._beside = beside
        self._figures = figures
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._playing: dict[str, Doing] = {}  # by the answer's id

    def doing(self, id: str) -> Doing | None:
        """What is done about this answer now; None if it is not played here."""
        return self._playing.get(id)

    def start(self, given: Mapping[str, str]) -> str:
        """Begins a scene around the `question` of a form, with its `roles`, `steps` and `seed`; returns the scene's id.

        Raises InputError for what can't be used, and Refusal if too many answers wait or the server ends.
        """
        settings = {**self.setup.settings.model_dump(), **{name: given.get(name) for name in ("roles", "steps")}}
        sampling = {**self.setup.sampling.model_dump(), "seed": given.get("seed")}
        try:
            question = Question(text=given.get("question", ""))
            setup = Setup(
                self.setup.method, type(self.setup.settings).model_validate(settings), Sampling.model_validate(sampling)
            )
        except ValidationError as error:
            raise InputError(fault_in(error).removeprefix("text: ")) from None
        return self._begin(setup.begun(question, self._model), setup)

    async def fork(self, answer: Answer, place: int, reply: str) -> str:
        """Begins the fork of `answer` with another reply to its call at `place`, and returns the fork's id.

        Raises InputError if it can't be played on, or the reply is the one that was there or has another form than the
        call's, and Refusal if too many answers wait or the server ends.
        """
        begun, setup = fork_of(answer, place, reply, self._model, self._store)
        await check(begun, setup, self._model)
        return self._begin(begun, setup)

    def _begin(self, begun: Answer, setup: Setup) -> str:
        """Plays the answer, unless that is under way or the record has it whole. What the record has of it stays."""
        state = self._state(begun.id)
        if begun.id in self._playing or state not in ("", "failed", "unfinished"):
            return begun.id
        if self._beside.ends.is_set():
            raise Refusal(503, "the server is about to stop; begin this scene again once it is back")
        if len(self._playing) >= MOST:
            raise Refusal(429, f"{MOST} scenes are being played or wait for their turn; try again later")
        if state != "unfinished":
            self._store.save(begun)
        self._playing[begun.id] = Doing("waiting for its turn", time.monotonic())
        task = self._beside.begin(self._play(begun, setup))
        task.add_done_callback(lambda _: self._playing.pop(begun.id))
        return begun.id

    def _state(self, id: str) -> str:
        """The answer's state in the record; empty if it is not there."""
        rows = self._store.select("SELECT state FROM answers WHERE id = ?", id)
        return str(rows[0][0]) if rows else ""

    async def _play(self, begun: Answer, setup: Setup) -> None:
        """Plays it to its end. If anything fails, the record says so, and why."""
        model, now = self._model.changing(changed_in(begun)), begun
        async with self._figures.turn(self._turns):
            self._playing[begun.id] = Doing("being played", time.monotonic())
            try:
                async for grown in setup.answer(begun.question, model):
                    now = grown.evolve(id=begun.id, settings=begun.settings)
                    self._store.save(now)
            except Exception as error:
                if not isinstance(error, MatrixAlignError):
                    log.exception("%s broke off", begun.id)
                if not now.error:
                    now = now.evolve(error=f"{type(error).__name__}: {error}")
                    self._fail(now)
            finally:
                self._figures.count(now)

    def _fail(self, answer: Answer) -> None:
        try:
            self._store.save(answer)
        except StoreError as why:  # the page then goes on saying that the answer is unfinished
            log.error("the record does not say that %s failed: %s", answer.id, why)
