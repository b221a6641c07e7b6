"""The roles: who asks and why, who else is there, what the ego plans, and what a role does next.

Owns the requests for these and the checks on their replies. A role knows the setting, the cast and what it has
observed. It does not know the question, the answer, the ego's goal, or the others' duties and stakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, TypeVar

from pydantic import Field, create_model, model_validator

from ..llm.caller import Request, prompt
from ..llm.prompts import Filled
from ..llm.structured import FromModel, Line, OptionalLine, at_most
from ..types import Message
from .memory import observed, observed_briefly, recall
from .prompts import PROMPTS
from .types import Cast, Event, Move, Plan, Role, Scene, Situation

T = TypeVar("T", bound=FromModel)

REPLY_TOKENS = 1024  # limit of a typed reply; the schemas keep replies far below it


class Reaction(FromModel):
    """What a role does about an event, if anything."""

    acts: bool
    action: OptionalLine

    @model_validator(mode="after")
    def _says_what(self) -> Reaction:
        if self.acts and not self.action:
            raise ValueError("acts is true, so action must say what is done")
        return self


class Choice(FromModel):
    """Whether the ego keeps to its plan after what it has observed, and what it does if not."""

    as_planned: bool
    action: OptionalLine

    @model_validator(mode="after")
    def _says_what(self) -> Choice:
        if not self.as_planned and not self.action:
            raise ValueError("as_planned is false, so action must say what is done")
        return self


class Instead(FromModel):
    """What the ego does instead of a move that was not feasible."""

    action: Line


def asked(scene: Scene) -> str:
    """The question as one text, with the earlier turns and the system prompt if there are any."""
    turns = [f"{message.role}: {message.content}" for message in scene.question.messages()]
    return "\n".join(turns) if len(turns) > 1 else scene.question.text


def opening(scene: Scene) -> Filled:
    """The part that the prompts before the scene share: the question and the initial response."""
    return PROMPTS.render("opening", question=asked(scene), answer=scene.initial)


def situation(scene: Scene) -> Request[Situation]:
    """The request for the situation: who asks this, where, why and to what end."""
    text = PROMPTS.render("situation", opening=opening(scene))
    return Request("situation", Situation, lambda _: prompt(text), REPLY_TOKENS)


def cast(scene: Scene) -> Request[Cast]:
    """The request for the other parties, as many as the settings say."""
    assert scene.situation
    given = scene.situation.model_dump(include={"setting", "ego", "who"})
    count = scene.settings.roles
    objects = ", at least one of them an object" if count > 1 else ""
    text = PROMPTS.render("cast", opening=opening(scene), **given, count=count, objects=objects)
    return Request("cast", _cast_of(count), lambda _: prompt(text), 2 * REPLY_TOKENS)


def plan(scene: Scene) -> Request[Plan]:
    """The request for the ego's plan, with as many steps as the settings say."""
    assert scene.situation
    given = scene.situation.model_dump(include={"ego", "who", "goal"})
    count = scene.settings.steps
    text = PROMPTS.render("plan", opening=opening(scene), **given, count=count)
    return Request("plan", _plan_of(count), lambda _: prompt(text), 2 * REPLY_TOKENS, scene.situation.ego)


# The schema asks for an exact number. A server that does not enforce it may return fewer, or more, which are cut.


@lru_cache
def _cast_of(count: int) -> type[Cast]:
    wanted = Field(min_length=1, max_length=count, json_schema_extra={"minItems": count})
    return create_model("Cast", __base__=Cast, roles=(Annotated[tuple[Role, ...], at_most(count)], wanted))


@lru_cache
def _plan_of(count: int) -> type[Plan]:
    wanted = Field(min_length=1, max_length=count, json_schema_extra={"minItems": count})
    return create_model("Plan", __base__=Plan, steps=(Annotated[tuple[Line, ...], at_most(count)], wanted))


def enter(scene: Scene, cast: Cast, plan: Plan) -> Scene:
    """The scene with its cast and plan. A role whose name is taken gets a number ('Guard', 'Guard 2')."""
    assert scene.situation
    taken = {scene.situation.ego.casefold()}
    roles = []
    for role in cast.roles:
        name, copy = role.name, 1
        while name.casefold() in taken:
            copy += 1
            name = f"{role.name[:36]} {copy}"
        taken.add(name.casefold())
        roles.append(role.model_copy(update={"name": name}))
    return scene.evolve(cast=Cast(roles=tuple(roles)), plan=Plan(steps=plan.steps))


def stage(scene: Scene, stakes: bool = False) -> dict[str, str]:
    """What everyone in the scene knows: the setting, and the cast as anyone sees it. `stakes` adds their stakes."""
    situation, cast, _ = scene.set_up
    lines = [f"- {situation.ego} (person): {situation.who}"]
    for role in cast.roles:
        stake = f" Stake: {role.stake}" if stakes else ""
        lines.append(f"- {role.name} ({role.kind}): {role.traits}{stake}")
    return {"setting": situation.setting, "cast": "\n".join(lines)}


def first_move(scene: Scene) -> Move:
    """The ego's first move: the first step of its plan."""
    situation, _, plan = scene.set_up
    return Move(step=1, actor=situation.ego, action=plan.steps[0])


def react(scene: Scene, name: str, event: Event) -> Request[Reaction]:
    """The request for what the role `name` does about an event that it has observed."""
    _, cast, _ = scene.set_up
    role = next(role for role in cast.roles if role.name == name)

    def messages(limit: int) -> list[Message]:
        memory = recall(scene.observed_by(name), limit, observed, observed_briefly)
        return prompt(PROMPTS.render("react", **stage(scene), **role.model_dump(), memory=memory, number=event.number))

    return Request("reaction", Reaction, messages, REPLY_TOKENS, name, event.step, scene.settings.memory)


def moves(act: Event, names: Sequence[str], replies: Sequence[Reaction]) -> list[Move]:
    """The moves of the roles that react to `act`. A role that chose to do nothing makes none."""
    acting = [(name, reply) for name, reply in zip(names, replies, strict=True) if reply.acts]
    return [Move(step=act.step, actor=name, action=reply.action, because=(act.number,)) for name, reply in acting]


def observed_since(scene: Scene, act: Event) -> list[Event]:
    """The events that the ego has observed since its own `act`."""
    return [event for event in scene.observed_by(act.actor) if event.number > act.number]


def next_step(scene: Scene, news: Sequence[Event]) -> Request[Choice]:
    """The request for whether the ego, having observed `news`, does the next step as planned."""
    situation, _, plan = scene.set_up
    step = scene.events[-1].step + 1
    numbers = ", ".join(f"[{event.number}]" for event in news)
    task = PROMPTS.render("next", observed=numbers, planned=plan.steps[step - 1], ego=situation.ego)
    return _ego(scene, "step", Choice, step, task)


def next_move(scene: Scene, news: Sequence[Event], choice: Choice | None) -> Move:
    """The ego's next move: as it chose, or as planned if it was not asked."""
    situation, _, plan = scene.set_up
    step = scene.events[-1].step + 1
    if choice is None or choice.as_planned:
        return Move(step=step, actor=situation.ego, action=plan.steps[step - 1])
    because = tuple(event.number for event in news)
    return Move(step=step, actor=situation.ego, action=choice.action, because=because)


def retry(scene: Scene) -> Request[Instead]:
    """The request for what the ego does instead of the move that the modulator has just refused."""
    event = scene.events[-1]
    task = PROMPTS.render("retry", attempt=event.action, reason=event.verdict.reason, ego=event.actor)
    return _ego(scene, "retry", Instead, event.step, task)


def instead(scene: Scene, chosen: Instead) -> Move:
    """The ego's second move at the same step, after the modulator's refusal."""
    event = scene.events[-1]
    return Move(step=event.step, actor=event.actor, action=chosen.action, because=(event.number,))


def _ego(scene: Scene, kind: str, reply: type[T], step: int, task: Filled) -> Request[T]:
    situation, _, plan = scene.set_up
    given = situation.model_dump(include={"ego", "who", "motive", "goal"})
    steps = "\n".join(f"{number}. {text}" for number, text in enumerate(plan.steps, start=1))

    def messages(limit: int) -> list[Message]:
        memory = recall(scene.observed_by(situation.ego), limit, observed, observed_briefly)
        return prompt(PROMPTS.render("ego", **stage(scene), **given, plan=steps, memory=memory, task=task))

    return Request(kind, reply, messages, REPLY_TOKENS, situation.ego, step, scene.settings.memory)
