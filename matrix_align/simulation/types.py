"""The frozen objects of a scene. They hold data and do nothing.

The names are the paper's (Pang et al., ICML 2024): the ego and the roles, people and objects alike, play a scene under
a modulator, and its numbered events lead to a critique. Knows no model, prompt, network or file.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictInt, ValidationError, computed_field

from ..errors import InputError
from ..llm.structured import FromModel, Line, Name, OptionalLine, Passage, Phrase, Sentence
from ..types import Answer, Frozen, Question, shorten
from .passages import passages

POINTS = {"brief": 3, "full": 5}  # most points of a critique; a revision would not heed more
CITED = re.compile(r"\s*\[\d+(?:\s*[,;–-]\s*\d+)*\]")  # how texts cite events: [1], [1, 2]

Part = Literal["examples", "words", "last-turns", "gate"]
PARTS: tuple[Part, ...] = get_args(Part)  # what an ablation can switch off


class Settings(Frozen):
    """The settings of the method. The paper has 5 roles and 5 steps.

    `detail` decides how long the texts of a scene may be. `without` names parts of the method that are switched off, to
    measure what they do (docs/method.md says what is then done instead).
    """

    roles: int = Field(5, ge=1, le=20)
    steps: int = Field(5, ge=1, le=20)
    memory: int = Field(20_000, ge=0, le=1_000_000, description="characters of past events that a prompt holds")
    detail: Literal["brief", "full"] = "full"
    without: Annotated[tuple[Part, ...], AfterValidator(lambda given: tuple(p for p in PARTS if p in given))] = ()

    @property
    def brief(self) -> bool:
        return self.detail == "brief"


class Asker(FromModel):
    """The ego, who is the one that asks, and where and when the scene opens. Anyone can know the `setting`.

    `asks` says in one sentence what the ego asks for, and who is who. Only the ego and the modulator know it. A brief
    scene knows no more of the ego: what a small model adds to that contradicts the question.
    """

    ego: Name
    asks: Sentence
    setting: Line


class Situation(Asker):
    """The ego in a full scene. Anyone can know `who` it is. Only the ego and the modulator know `motive` and `goal`."""

    who: Line
    motive: Line
    goal: Line


class Risk(FromModel):
    """What comes of it for others if the ego does what it asks about, and it works: what happens, to whom, which harm.

    A brief scene asks for this. A small model does not see the harm in its own answer, nor when it plays the scene; it
    often sees it in the question.
    """

    done: Line
    others: OptionalLine
    harm: Literal["nobody is harmed", "loses", "deceived", "pressed", "exposed", "endangered"]

    @property
    def hurts(self) -> str:
        """Whom it harms, and how. Empty if nobody."""
        if self.harm == "nobody is harmed":
            return ""
        return f"{self.others.rstrip('.')}: {self.done}" if self.others else self.done


class Refusal(FromModel):
    """Whether the initial response declines to help. A brief scene asks only this of it."""

    refuses: bool


class Stance(FromModel):
    """What the initial response does, judged by itself: whom it hurts, and how (empty if nobody), and what it is.

    A small decision of its own, since a small model can't make it at the end of a scene. Only the modulator knows it.
    In a brief scene it is made of the risk and the refusal.
    """

    hurts: OptionalLine
    answer: Literal["helps", "hurts", "refuses"]


class Role(FromModel):
    """Another party of the scene. An object (a door, a camera, an account) does only what such an object does.

    Anyone can see the `traits`. `duty` is what the role must do, and what it alone knows and has. `stake` is what it
    can gain or lose.
    """

    name: Name
    kind: Literal["person", "institution", "object"]
    traits: Line
    duty: Line
    stake: Line


class Cast(FromModel):
    """The roles around the ego. Their names all differ."""

    roles: tuple[Role, ...] = Field(min_length=1)

    def names(self) -> tuple[str, ...]:
        return tuple(role.name for role in self.roles)


class Step(FromModel):
    """One step of the plan: when and where, and what the ego does.

    `words` holds the numbers of the answer's passages that the ego says, sends or shows to others in this step.
    """

    when: Phrase
    act: Line
    words: Annotated[tuple[StrictInt, ...], BeforeValidator(lambda numbers: _each_once(numbers))]


class Plan(FromModel):
    """What the ego does with the initial response, step by step."""

    steps: tuple[Step, ...] = Field(min_length=1)


def _each_once(values: Any) -> Any:
    if isinstance(values, list | tuple) and all(isinstance(value, str | int) for value in values):
        return list(dict.fromkeys(values))
    return values


class Verdict(FromModel):
    """The modulator's ruling on one move.

    `outcome` is what follows at once, as those there can perceive it; if the move is not feasible, it is what stands in
    the way. `harm` is what somebody loses or suffers by the move, even unnoticed; only the modulator knows it.
    """

    feasible: bool
    outcome: Line
    observers: Annotated[tuple[str, ...], BeforeValidator(_each_once)]
    harm: OptionalLine
    ending: Literal["goes on", "goal reached", "stopped", "nothing more"]


class Move(Frozen):
    """What a party attempts at a step, when and where. `because` holds the numbers of the events that it reacts to.

    `words` is what it says, sends or shows of the initial response.
    """

    step: int
    actor: str
    action: str
    when: str = ""
    words: str = ""
    because: tuple[int, ...] = ()


class Event(Move):
    """A numbered move with its verdict. A move that is not feasible did not happen, and nobody observed it."""

    number: int
    verdict: Verdict


class Fate(FromModel):
    """What has become of one party days and weeks later, and what harm it came to.

    `cause` traces the harm: to the answer, if another answer would have avoided it; to somebody's own will, if the ego
    or another did it against the answer or without it; or to chance.
    """

    who: str
    later: Line
    harm: Literal["none", "loses", "deceived", "pressed", "exposed", "endangered"]
    cause: Literal["nobody", "the answer", "own will", "chance"]


class Aftermath(FromModel):
    """The consequences of the initial response, at once and weeks later.

    `missing` is a useful thing that the answer did not give, such as help where it refused; empty if it gave all.
    """

    consequences: Passage
    fates: tuple[Fate, ...] = Field(min_length=1)
    found_out: Line
    missing: OptionalLine

    @property
    def harmed(self) -> tuple[Fate, ...]:
        """Those whom another answer would have spared harm."""
        return tuple(fate for fate in self.fates if fate.harm != "none" and fate.cause == "the answer")


class Point(FromModel):
    """One point of the critique, said to the answerer about the answer.

    `incidents` are the numbers of the events that show it, `quotes` those of the passages of the answer that led there.
    """

    incidents: Annotated[tuple[StrictInt, ...], BeforeValidator(_each_once)]
    quotes: Annotated[tuple[StrictInt, ...], BeforeValidator(_each_once)]
    problem: Line
    change: Line


class Critique(FromModel):
    """What to change in the initial response. Without points, it stands as it is."""

    points: tuple[Point, ...]


class Ending(Frozen):
    """How the scene ended, and why. "steps finished" does not say that the goal was reached."""

    how: Literal["steps finished", "goal reached", "stopped", "nothing more"]
    why: str


class Scene(Frozen):
    """A scene, as far as it has been played. Parts that are not there yet are None or empty."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # its own JSON contains the computed fields

    question: Question
    settings: Settings
    initial: str | None = None
    situation: Situation | Asker | None = None
    risk: Risk | None = None
    stance: Stance | None = None
    cast: Cast | None = None
    plan: Plan | None = None
    events: tuple[Event, ...] = ()
    ending: Ending | None = None
    aftermath: Aftermath | None = None
    critique: Critique | None = None
    revised: str | None = None

    @classmethod
    def of(cls, answer: Answer) -> Scene:
        """The scene of an answer that matrix made, as far as it has been played.

        Raises InputError if another version wrote it in another form.
        """
        if isinstance(answer.scene, cls):
            return answer.scene
        try:
            return cls.model_validate(answer.scene)
        except ValidationError:
            raise InputError(
                f"the scene of answer {answer.id} has the form of another version of matrix-align; play it again, or "
                "print the answer as it was stored, with `matrix-align scenes show ID --json`"
            ) from None

    def evolve(self, **changes: Any) -> Scene:
        """The same scene with these parts set."""
        return self.model_copy(update=changes)

    @property
    def set_up(self) -> tuple[Situation | Asker, Cast, Plan]:
        """The situation, the cast and the plan, which are there before the first event."""
        assert self.situation and self.cast and self.plan, "the scene is not set up yet"
        return self.situation, self.cast, self.plan

    @property
    def asks_for_change(self) -> bool:
        """Whether the answer hurts somebody, refuses, did harm in the scene or lacked something. If not, it stands."""
        assert self.stance and self.aftermath
        return bool(self.stance.answer != "helps" or self.aftermath.harmed or self.aftermath.missing)

    @property
    def ego(self) -> str:
        return self.set_up[0].ego

    @property
    def parties(self) -> tuple[str, ...]:
        """The names of all: the ego first, then the roles."""
        situation, cast, _ = self.set_up
        return (situation.ego, *cast.names())

    def role(self, name: str) -> Role:
        """The role with this name."""
        return next(role for role in self.set_up[1].roles if role.name == name)

    def affected(self) -> tuple[str, ...]:
        """The names of those whom the scene can harm: all but the objects."""
        situation, cast, _ = self.set_up
        return (situation.ego, *(role.name for role in cast.roles if role.kind != "object"))

    def asked(self) -> str:
        """The question as one text, with the earlier turns and the system prompt if there are any."""
        turns = [f"{message.role}: {message.content}" for message in self.question.messages()]
        return "\n".join(turns) if len(turns) > 1 else self.question.text

    def quoted(self, numbers: tuple[int, ...], most: int | None = None) -> str:
        """The passages of the initial response with these numbers, as one text. `most` limits each, in characters."""
        quoted = sorted(number for number in numbers if 0 < number <= len(self.passages))
        gaps = ["" if number - 1 in quoted or number == quoted[0] else "… " for number in quoted]
        texts = [self.passages[number - 1] for number in quoted]
        if most:
            texts = [shorten(text, most) for text in texts]
        return " ".join(gap + text for gap, text in zip(gaps, texts, strict=True))

    @property
    def passages(self) -> tuple[str, ...]:
        """The initial response in numbered parts, by which steps and points refer to it; the first is number 1."""
        return passages(self.initial or "")

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
        if self.aftermath:
            for number in _named(self.aftermath.consequences):
                later.get(number, []).append("consequences")  # a model may cite an event that does not exist
        for place, point in enumerate(self.critique.points if self.critique else (), start=1):
            for number in point.incidents:
                later[number].append(f"critique point {place}")
        return {number: tuple(texts) for number, texts in later.items()}


def _named(text: str) -> list[int]:
    """The numbers of the events that a text cites."""
    cited = " ".join(found.group() for found in CITED.finditer(text))
    ranges = re.findall(r"\b(\d{1,4})\b(?:\s*[–-]\s*(\d{1,4})\b)?", cited)
    return list(dict.fromkeys(n for first, last in ranges for n in range(int(first), int(last or first) + 1)))
