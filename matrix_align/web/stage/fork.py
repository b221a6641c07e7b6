"""Plays a scene on from a changed reply: another role, another ruling, another move.

The scene is played anew with the changed reply in place of the recorded one. Up to there every call is the same, so the
record has it; only what follows from the change is asked. The fork is an answer of its own. Its settings say, as
`fork`, which answer it comes from and which replies were changed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import to_json

from ...errors import InputError, MatrixAlignError
from ...llm.recorded import Recorded
from ...methods import METHODS, Setup
from ...store import Store
from ...types import Answer, clean

AT_ONCE = 2  # forks that are played; more wait


def changed_in(answer: Answer) -> Mapping[str, str]:
    """The replies that a person changed in this answer, by the keys of the calls."""
    fork: Any = answer.settings.get("fork") or {}
    changed: Mapping[str, str] = fork.get("changed", {})
    return changed


class Player:
    """Plays forks with `model`, and writes each into `store` as it grows."""

    def __init__(self, model: Recorded, store: Store) -> None:
        self._model = model
        self._store = store
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._playing: dict[str, asyncio.Task[None]] = {}  # by the fork's id

    def begin(self, answer: Answer, place: int, reply: str) -> str:
        """Begins the fork of `answer` with another reply to its call at `place`, and returns the fork's id.

        Raises InputError if there is no such call, or if its earlier calls would have to be paid for again.
        """
        key = answer.calls[place - 1].key if 1 <= place <= len(answer.calls) else None
        if not key:
            raise InputError("the record does not have this call, so nothing can be played on from it")
        method = METHODS.get(answer.method)
        if not method:
            raise InputError(f"there is no method {answer.method} here, so this answer can't be played on")
        settings = {name: value for name, value in answer.settings.items() if name != "fork"}
        setup = Setup(method, method.settings.model_validate(settings), answer.sampling)
        before: Any = answer.settings.get("fork") or {"of": answer.id}
        if setup.id(answer.question, self._model) != before["of"]:
            raise InputError(
                f"this scene was played by {answer.model} with other weights or prompts than those served here "
                f"({self._model.name}), so all of it would have to be played again; serve that model"
            )
        changed = {**changed_in(answer), key: clean(reply)}
        note: Any = {"of": before["of"], "changed": changed}
        fork = hashlib.sha256(to_json(note)).hexdigest()[:16]
        begun = answer.evolve(id=fork, settings={**settings, "fork": note}, calls=(), error=None)
        begun = begun.evolve(initial=None, initial_cut="", text=None, text_cut="", ending="", scene=None)
        if fork not in self._playing:
            self._store.save(begun)
            self._playing[fork] = task = asyncio.create_task(self._play(begun, setup))
            task.add_done_callback(lambda _: self._playing.pop(fork))
        return fork

    async def _play(self, begun: Answer, setup: Setup) -> None:
        model = self._model.changing(changed_in(begun))
        async with self._turns:
            with suppress(MatrixAlignError):  # the answer that is saved last says it
                async for grown in setup.answer(begun.question, model):
                    self._store.save(grown.evolve(id=begun.id, settings=begun.settings))
