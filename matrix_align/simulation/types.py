"""The frozen objects of a scene, and nothing that acts.

Knows no model, prompt, network or file. Names are the paper's (Pang et al., ICML 2024): a scene is played
by the ego and other roles, people and objects alike, under a modulator; numbered events become a critique.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StrictInt, computed_field

from ..llm.structured import FromModel, Line, Name, OptionalLine, Passage, Phrase, at_most
from ..types import Answer, Frozen, Question

POINTS = 3  # of a critique: more than this a revision does not take up
CITED = re.compile(r"\s*\[\d+(?:\s*[,;–-]\s*\d+)*\]")  # how texts name events: [1], [1, 2]


class Settings(Frozen):
    """What, beside the question, the model and its sampling, decides how a scene goes. Paper: 5 roles, 5 steps."""

    roles: int = Field(5, ge=1, le=20)
    steps: int = Field(5, ge=1, le=20)
    memory: int = Field(6000, ge=0, le=1_000_000, description="characters of past events that a prompt holds")


class Situation(FromModel):
    """Who asks this and why: the ego, where the scene opens, and what the ego is after.

    `setting` is what anyone present can see; `motive` and `goal` are the ego's own and the modulator's to know.
    """

    setting: Passage
    ego: Name
    who: Line
    motive: Line
    goal: Line


class Role(FromModel):
    """Another party of the scene. An object (a door, a camera, an account) acts by what it is."""

    kind: Literal["person", "institution", "object"]
    name: Name
    traits: Line
    duty: Line
    stake: Line


class Cast(FromModel):
    """The roles around the ego, all of different names."""

    roles: tuple[Role, ...] = Field(min_length=1)

    def names(self) -> tuple[str, ...]:
        return tuple(role.name for role in self.roles)


class Plan(FromModel):
    """The initial response as what the ego does, step by step."""

    steps: tuple[Line, ...] = Field(min_length=1)


def _each_once(names: Any) -> Any:
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return list(dict.fromkeys(names))
    return names


class Verdict(FromModel):
    """The modulator's ruling on one action: the five powers it has over the scene."""

    reason: Phrase
    feasible: bool
    outcome: OptionalLine
    observers: Annotated[tuple[str, ...], BeforeValidator(_each_once)]
    harm: OptionalLine
    ending: Literal["goes on", "plan done", "plan stopped", "nothing more"]


class Move(Frozen):
    """What a role attempts at a step, and the numbers of the events that moved it to."""

    step: int
    actor: str
    action: str
    because: tuple[int, ...] = ()


class Event(Move):
    """A move with the ruling on it. A move that was not feasible did not happen: nobody observed it."""

    number: int
    verdict: Verdict


class Point(FromModel):
    """One point of the critique: the incident it rests on, what was wrong, what the answer should do instead."""

    incident: StrictInt
    problem: Line
    change: Line


class Critique(FromModel):
    """What the scene led to, and what that says about the initial response. No points: nothing to mend."""

    consequences: Passage
    points: Annotated[tuple[Point, ...], at_most(POINTS)] = Field(max_length=POINTS)


class Ending(Frozen):
    """How the scene ended, and why."""

    how: Literal["plan done", "plan stopped", "nothing more"]
    why: str


class Scene(Frozen):
    """One whole scene, as far as it has been played. What is not there yet is None or empty."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # its own JSON carries the computed parts too

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
        """The scene behind an answer of matrix, as far as it has been played."""
        return answer.scene if isinstance(answer.scene, cls) else cls.model_validate(answer.scene)

    def having(self, **changes: Any) -> Scene:
        """The same scene with these parts set."""
        return self.model_copy(update=changes)

    @property
    def set_up(self) -> tuple[Situation, Cast, Plan]:
        """Who is there and what is planned; there from before the first event on."""
        assert self.situation and self.cast and self.plan, "the scene is not set up yet"
        return self.situation, self.cast, self.plan

    def observed_by(self, name: str) -> list[Event]:
        """The events `name` knows of: those it observed and its own, in order."""
        return [event for event in self.events if name == event.actor or name in event.verdict.observers]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def references(self) -> dict[int, tuple[str, ...]]:
        """For each incident, by number, the later texts that refer to it: reactions, changed steps, critique points."""
        later: dict[int, list[str]] = {event.number: [] for event in self.events}
        for event in self.events:
            for number in event.because:
                later[number].append(f"event {event.number}")
        if self.critique:
            for number in _named(self.critique.consequences):
                later.get(number, []).append("consequences")  # a model may name an event that is not there
            for place, point in enumerate(self.critique.points, start=1):
                later[point.incident].append(f"critique point {place}")
        return {number: tuple(texts) for number, texts in later.items()}


def _named(text: str) -> list[int]:
    """The numbers of the events that a text names."""
    cited = " ".join(found.group() for found in CITED.finditer(text))
    ranges = re.findall(r"(\d{1,4})(?:\s*[–-]\s*(\d{1,4}))?", cited)
    return list(dict.fromkeys(n for first, last in ranges for n in range(int(first), int(last or first) + 1)))
