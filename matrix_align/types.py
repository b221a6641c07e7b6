"""The frozen objects that flow between the stages, and nothing that acts.

Knows no model, prompt, network or file. Names are the paper's (Pang et al., ICML 2024): a scene is played
by the ego and other roles, people and objects alike, under a modulator; numbered events become a critique.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, computed_field, field_validator

CITED = re.compile(r"\s*\[\d+(?:\s*[,;–-]\s*\d+)*\]")  # how texts name events: [1], [1, 2]
QUESTION_LIMIT = 64_000  # characters: longer ones are files, not questions


_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\r"}


def clean(text: str) -> str:
    """`text` as databases, terminals and JSON writers take it: no control characters, lone surrogates as U+FFFD."""
    if text.isprintable():  # most texts, and a tenth of the time
        return text
    return text.translate(_CONTROLS).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shorten(text: str, limit: int) -> str:
    """`text` on one line and at most `limit` characters long; a cut ends in '…', at a word where there is one."""
    line = " ".join(text.split())
    if len(line) < limit or (len(line) == limit and not line[-1].isalnum()):
        return line  # one that fills the limit in the middle of a word was cut there, by a server that holds to it
    head = line[: limit - 1]
    return (head.rsplit(" ", 1)[0] if " " in head[limit // 2 :] else head) + "…"


def _line(limit: int) -> BeforeValidator:
    return BeforeValidator(lambda value: shorten(clean(value), limit) if isinstance(value, str) else value)


def at_most(count: int) -> BeforeValidator:
    """Cuts a list that is too long, as texts are: how many is our wish, not the model's duty."""
    return BeforeValidator(lambda value: value[:count] if isinstance(value, list) else value)


# A short text a model writes. A longer one is cut, not refused: the length is our wish, not the model's duty.
Name = Annotated[str, _line(40), StringConstraints(min_length=1, max_length=40)]
Phrase = Annotated[str, _line(60), StringConstraints(min_length=1, max_length=60)]
Line = Annotated[str, _line(100), StringConstraints(min_length=1, max_length=100)]
OptionalLine = Annotated[str, _line(100), StringConstraints(max_length=100)]
Passage = Annotated[str, _line(240), StringConstraints(min_length=1, max_length=240)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FromModel(Frozen):
    """Base of what a model writes: keys we did not ask for are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(Frozen):
    """One turn of a chat, in the form every OpenAI-compatible server takes."""

    role: Literal["system", "user", "assistant"]
    content: str

    @field_validator("content")
    @classmethod
    def _clean(cls, content: str) -> str:
        return clean(content)


class Question(Frozen):
    """What a user asks. `earlier` holds the turns before it, `system` the system prompt they were asked under."""

    text: str
    earlier: tuple[Message, ...] = ()
    system: str | None = None

    @field_validator("system")
    @classmethod
    def _clean(cls, system: str | None) -> str | None:
        return (clean(system) or None) if system else None

    @field_validator("text")
    @classmethod
    def _usable(cls, text: str) -> str:
        text = clean(text).strip()
        if not text:
            raise ValueError("the question is empty; write what a user would ask")
        if len(text) > QUESTION_LIMIT:
            raise ValueError(f"the question has {len(text):,} characters; at most {QUESTION_LIMIT:,} are taken")
        return text

    def opening(self) -> str:
        """How the conversation begins, written plainly: what many a data set shares between its rows."""
        first = next(message.content for message in self.messages() if message.role == "user")
        return " ".join(first.casefold().split())

    def messages(self) -> list[Message]:
        """The chat a model answers when it is asked this question."""
        system = [Message(role="system", content=self.system)] if self.system else []
        return [*system, *self.earlier, Message(role="user", content=self.text)]


class Settings(Frozen):
    """What, beside the question and the model, decides how a scene goes. Paper: 5 roles, 5 steps."""

    roles: int = Field(5, ge=1, le=20)
    steps: int = Field(5, ge=1, le=20)
    seed: int = Field(0, ge=0, lt=2**63)
    temperature: float = Field(0.7, ge=0, le=2)
    max_tokens: int = Field(1024, ge=16, le=65_536, description="longest answer, in tokens")
    memory: int = Field(6000, ge=0, le=1_000_000, description="characters of past events that a prompt holds")


class Sampling(Frozen):
    """How one reply is drawn."""

    temperature: float
    max_tokens: int
    seed: int


class Usage(Frozen):
    """What one call took: tokens of the prompt, those of them the server had cached, tokens generated; seconds.

    `requests` counts HTTP requests that were answered: more than one where a reply had to be asked for again.
    """

    prompt: int = 0
    cached: int = 0
    generated: int = 0
    seconds: float = 0.0
    requests: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})


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


class Verdict(FromModel):
    """The modulator's ruling on one action: the five powers it has over the scene."""

    reason: Phrase
    feasible: bool
    outcome: OptionalLine
    observers: tuple[str, ...]
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

    incident: int
    problem: Line
    change: Line


class Critique(FromModel):
    """What the scene led to, and what that says about the initial response. No points: nothing to mend."""

    consequences: Passage
    points: tuple[Point, ...] = ()


class Ending(Frozen):
    """How the scene ended, and why."""

    how: Literal["plan done", "plan stopped", "nothing more"]
    why: str


class Call(Frozen):
    """One call of the scene: what for, by whom, and how many calls had to stand before it (`depth`).

    `key` finds the call in the store; None where nothing recorded it. `recorded`: it came from there.
    `cut`: the text ended at its longest, so it may lack its end.
    """

    kind: str
    who: str
    step: int
    depth: int
    usage: Usage
    key: str | None = None
    recorded: bool = False
    cut: bool = False


class Scene(Frozen):
    """One whole scene, as far as it has been played. What is not there yet is None or empty."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # its own JSON carries the computed parts too

    id: str
    model: str
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
    calls: tuple[Call, ...] = ()
    error: str | None = None

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

    @computed_field  # type: ignore[prop-decorator]
    @property
    def usage(self) -> Usage:
        """Everything the scene's calls took; `seconds` is their sum, more than the time that passed."""
        return sum((call.usage for call in self.calls), start=Usage())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def depth(self) -> int:
        """How many calls stood one after the other."""
        return max((call.depth for call in self.calls), default=0)


def _named(text: str) -> list[int]:
    """The numbers of the events that a text names."""
    cited = " ".join(found.group() for found in CITED.finditer(text))
    ranges = re.findall(r"(\d{1,4})(?:\s*[–-]\s*(\d{1,4}))?", cited)
    return list(dict.fromkeys(n for first, last in ranges for n in range(int(first), int(last or first) + 1)))
