"""What the page of one answer shows: the answer, its scene, and its calls, as they are in the record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pydantic_core import from_json, to_json

from ... import errors
from ...errors import InputError
from ...simulation.types import Scene
from ...store import Store
from ...types import Answer, Call
from .diff import Change, changes
from .fork import changed_in, places_changed
from .links import Sentence, sentences
from .picture import Party, parties
from .timeline import Timeline, timeline


class Turn(NamedTuple):
    """A message of a prompt."""

    role: str
    content: str


class Spoken(NamedTuple):
    """A call with its prompt and its reply. `prompt` is None if the record does not have the call."""

    place: int
    call: Call
    prompt: list[Turn] | None
    reasoning: str = ""
    reply: str = ""
    changed: bool = False


@dataclass(frozen=True)
class Shown:
    """An answer with all that its page computes. `trouble` says why its scene can't be shown, if it can't."""

    answer: Answer
    scene: Scene | None
    trouble: str

    @property
    def fault(self) -> str:
        """Why the answer failed, without the name of the error's class; empty if it did not."""
        error = self.answer.error or ""
        kind, colon, message = error.partition(": ")
        if not colon or not kind.isidentifier():
            return error
        ours = isinstance(vars(errors).get(kind), type)
        return message if ours else "matrix-align itself failed here; the log of the process that played it says how"

    @cached_property
    def parties(self) -> list[Party]:
        return parties(self.scene) if self.scene else []

    @cached_property
    def sentences(self) -> list[Sentence]:
        return sentences(self.scene) if self.scene else []

    @property
    def stands(self) -> bool:
        """Whether the initial response is the answer, and nothing in it was to be changed."""
        criticised = self.scene and self.scene.critique and self.scene.critique.points
        return self.answer.text is not None and self.answer.text == self.answer.initial and not criticised

    @cached_property
    def by_hand(self) -> list[int]:
        """The places of the calls whose replies were written by hand, in a fork. The first is 1."""
        return places_changed(self.answer)

    @cached_property
    def changes(self) -> list[Change] | None:
        """The difference of the initial and the revised response; None if one is missing, or the initial one stands."""
        initial, text = self.answer.initial, self.answer.text
        return None if initial is None or text is None or self.stands else changes(initial, text)

    @cached_property
    def timeline(self) -> Timeline:
        return timeline(self.answer)


def shown(answer: Answer) -> Shown:
    if not answer.scene:
        return Shown(answer, None, "")
    try:
        return Shown(answer, Scene.of(answer), "")
    except InputError as error:
        return Shown(answer, None, str(error))


def seconds_since_it_grew(store: Store, answer: Answer) -> float:
    """How long ago its last call was completed, or, without any, it was begun."""
    [(seconds,)] = store.select(
        """
        SELECT 86400 * (julianday('now') - julianday(max(at))) FROM (
            SELECT at FROM answers WHERE id = ?
            UNION ALL SELECT at FROM calls WHERE key IN (SELECT value FROM json_each(?)))""",
        *(answer.id, to_json([call.key for call in answer.calls]).decode()),
    )
    return max(0.0, seconds or 0.0)


def spoken(store: Store, answer: Answer, place: int) -> Spoken | None:
    """The answer's call at `place`, the first of which is 1; None if it has no such call."""
    if not 1 <= place <= len(answer.calls):
        return None
    call = answer.calls[place - 1]
    rows = store.select("SELECT request, reasoning, text FROM calls WHERE key = ?", call.key or "")
    if not rows:
        return Spoken(place, call, None)
    request, reasoning, reply = rows[0]
    prompt = [Turn(message["role"], message["content"]) for message in from_json(request)["messages"]]
    if call.key in (changed := changed_in(answer)):
        return Spoken(place, call, prompt, "", changed[call.key or ""], changed=True)
    return Spoken(place, call, prompt, reasoning, reply)
