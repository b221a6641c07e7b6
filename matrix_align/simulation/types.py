"""The frozen objects of a scene. They hold data and do nothing.

The names are the paper's (Pang et al., ICML 2024): the ego and the roles, people and objects alike, play a scene under
a modulator, and its numbered events lead to a critique. Knows no model, prompt, network or file.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StrictInt, computed_field

from ..llm.structured import FromModel, Line, Name, OptionalLine, Passage, Phrase, at_most
from ..types import Answer, Frozen, Question

POINTS = 3  # most points of a critique; a revision would not heed more
CITED = re.compile(r"\s*\[\d+(?:\s*[,;–-]\s*\d+)*\]")  # how texts cite events: [1], [1, 2]


class Settings(Frozen):
    """The settings of the method. The paper has 5 roles and 5 steps."""

    roles: int = Field(5, ge=1, le=20)
    steps: int = Field(5, ge=1, le=20)
    memory: int = Field(6000, ge=0, le=1_000_000, description="characters of past events that a prompt holds")
    detail: Literal["brief", "full"] = "full"  # how much the texts of a scene may say


class Situation(FromModel):
    """Who asks this and why: the ego, where the scene opens, and what the ego wants.

    `setting` is what anyone present can see. Only the ego and the modulator know `motive` and `goal`.
    """

    setting: Passage
    ego: Name
    who: Line
    motive: Line
    goal: Line


class Role(FromModel):
    """Another party of the scene. An object (a door, a camera, an account) does only what such an object does."""

    kind: Literal["person", "institution", "object"]
    name: Name
    traits: Line
    duty: Line
    stake: Line


class Cast(FromModel):
    """The roles around the ego. Their names all differ."""

    roles: tuple[Role, ...] = Field(min_length=1)

    def names(self) -> tuple[str, ...]:
        return tuple(role.name for role in self.roles)


class Plan(FromModel):
    """The initial response as the ego's steps."""

    steps: tuple[Line, ...] = Field(min_length=1)


def _each_once(names: Any) -> Any:
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return list(dict.fromkeys(names))
    return names


class Verdict(FromModel):
    """The modulator's ruling on one move."""

    reason: Phrase
    feasible: bool
    outcome: OptionalLine
    observers: Annotated[tuple[str, ...], BeforeValidator(_each_once)]
    harm: OptionalLine
    ending: Literal["goes on", "plan done", "plan stopped", "nothing more"]


class Move(Frozen):
    """What a role attempts at a step. `because` holds the numbers of the events that it reacts to."""

    step: int
    actor: str
    action: str
    because: tuple[int, ...] = ()


class Event(Move):
    """A numbered move with its verdict. A move that is not feasible did not happen, and nobody observed it."""

    number: int
    verdict: Verdict


class Point(FromModel):
    """One point of the critique: an incident, what in the answer led to it, and what the answer should say instead."""

    incident: StrictInt
    problem: Line
    change: Line


class Critique(FromModel):
    """The consequences of the initial response, and what to change in it. Without points, nothing needs to change."""

    consequences: Passage
    points: Annotated[tuple[Point, ...], at_most(POINTS)] = Field(max_length=POINTS)


class Ending(Frozen):
    """How the scene ended, and why."""

    how: Literal["plan done", "plan stopped", "nothing more"]
    why: str


class Scene(Frozen):
    """A scene, as far as it has been played. Parts that are not there yet are None or empty."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # its own JSON contains the computed fields

    question: Question
    settings: Settings
    initial: str | None = None
    situation: Situation | None = None
    cast: Cast | None = None
    plan: Plan | None = None
    events: tuple[Event, ...] = ()
    ending: Ending | None = None
    critique: Critique | None = None
    revised: str | None = None

    @classmethod
    def of(cls, answer: Answer) -> Scene:
        """The scene of an answer that matrix made, as far as it has been played."""
        return answer.scene if isinstance(answer.scene, cls) else cls.model_validate(answer.scene)

    def evolve(self, **changes: Any) -> Scene:
        """The same scene with these parts set."""
        return self.model_copy(update=changes)

    @property
    def set_up(self) -> tuple[Situation, Cast, Plan]:
        """The situation, the cast and the plan, which are there before the first event."""
        assert self.situation and self.cast and self.plan, "the scene is not set up yet"
        return self.situation, self.cast, self.plan

    def observed_by(self, name: str) -> list[Event]:
        """The events that `name` knows: those it observed and its own, in order."""
        return [event for event in self.events if name == event.actor or name in event.verdict.observers]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def references(self) -> dict[int, tuple[str, ...]]:
        """For each event, by number, the later texts that cite it: reactions, changed steps, points of the critique."""
        later: dict[int, list[str]] = {event.number: [] for event in self.events}
        for event in self.events:
            for number in event.because:
                later[number].append(f"event {event.number}")
        if self.critique:
            for number in _named(self.critique.consequences):
                later.get(number, []).append("consequences")  # a model may cite an event that does not exist
            for place, point in enumerate(self.critique.points, start=1):
                later[point.incident].append(f"critique point {place}")
        return {number: tuple(texts) for number, texts in later.items()}


def _named(text: str) -> list[int]:
    """The numbers of the events that a text cites."""
    cited = " ".join(found.group() for found in CITED.finditer(text))
    ranges = re.findall(r"(\d{1,4})(?:\s*[–-]\s*(\d{1,4}))?", cited)
    return list(dict.fromkeys(n for first, last in ranges for n in range(int(first), int(last or first) + 1)))
