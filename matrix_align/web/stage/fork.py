"""What a fork is: an answer whose scene is played on from a changed reply, as another role, ruling or move.

The scene is played anew with the changed reply in place of the recorded one. Up to there every call is the same, so the
record has it; only what follows from the change is asked. The fork is an answer of its own. Its settings say, as
`fork`, which answer it comes from and which replies were changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import from_json, to_json

from ...errors import InputError, ModelError
from ...llm.model import Model
from ...llm.recorded import Recorded
from ...methods import METHODS, Setup
from ...plain import plain
from ...store import Store
from ...types import Answer, clean


def changed_in(answer: Answer) -> Mapping[str, str]:
    """The replies that a person changed in this answer, by the keys of the calls."""
    fork: Any = answer.settings.get("fork") or {}
    changed: Mapping[str, str] = fork.get("changed", {})
    return changed


def places_changed(answer: Answer) -> list[int]:
    """The places of the calls whose replies a person changed, as far as the answer has got to them. The first is 1."""
    changed = changed_in(answer)
    return [place for place, call in enumerate(answer.calls, start=1) if call.key in changed]


def fork_of(answer: Answer, place: int, reply: str, model: Model, store: Store) -> tuple[Answer, Setup]:
    """The fork of `answer` with another reply to its call at `place`, not played yet, and the setup to play it with.

    Raises InputError if there is no such call, if nothing was changed, or if the earlier calls would have to be paid
    for again with `model`.
    """
    key = answer.calls[place - 1].key if 1 <= place <= len(answer.calls) else None
    recorded = store.call(key) if key else None
    if not key or not recorded:
        raise InputError("the record does not have this call, so nothing can be played on from it")
    changed = {**changed_in(answer), key: clean(reply)}
    if _content(reply) == _content(changed_in(answer).get(key, recorded[0])):
        raise InputError("nothing was changed")
    if _content(reply) == _content(recorded[0]):
        del changed[key]
        if not changed:
            raise InputError("with this reply, it is the scene as it was played")
    method = METHODS.get(answer.method)
    if not method:
        raise InputError(f"there is no method {answer.method} here, so this answer can't be played on")
    settings = {name: value for name, value in answer.settings.items() if name != "fork"}
    setup = Setup(method, method.settings.model_validate(settings), answer.sampling)
    before: Any = answer.settings.get("fork") or {"of": answer.id}
    if setup.id(answer.question, model) != before["of"]:
        raise InputError(
            f"this scene was played by {answer.model} with other weights or prompts than those served here "
            f"({model.name}), so all of it would have to be played again; serve that model"
        )
    note: Any = {"of": before["of"], "changed": changed}
    id = hashlib.sha256(to_json(note)).hexdigest()[:16]
    return setup.begun(answer.question, model).evolve(id=id, settings={**settings, "fork": note}), setup


def _content(reply: str) -> Any:
    """What counts in a reply: the value of a JSON object, whatever its spacing; the lines of a text.

    A form in a browser sends other line ends than a model writes.
    """
    with suppress(ValueError):
        if isinstance(value := from_json(reply), dict):
            return value
    return clean(reply).strip().splitlines()


async def check(fork: Answer, setup: Setup, model: Recorded) -> None:
    """Raises InputError, in plain words, if a changed reply does not have the form of its call's replies.

    The record is played as far as it goes, so the reply meets what the scene allows at this call. Nothing is asked.
    """
    try:
        with suppress(ModelError):
            async for _ in setup.answer(fork.question, model.replaying(changed_in(fork))):
                pass
    except InputError as error:
        raise InputError(plain(str(error))) from None
