"""The roles: who asks and why, who else is there, what the ego plans, and what a role does next.

Owns the requests for these and the checks on their replies. A role knows the setting, the cast and what it has
observed; the question, the answer and the others' motives are not its to know. Paper, sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from pydantic import Field, create_model, model_validator

from ..prompts import render
from ..types import Cast, Event, FromModel, Line, Message, Move, OptionalLine, Plan, Role, Scene, Situation
from .memory import observed, recall
from .performer import Request, prompt

ROOM = 1024  # tokens a typed reply may take; their schemas keep them far below


class Reaction(FromModel):
    """What a role does about an event; a role that does not act lets it pass."""

    acts: bool
    action: OptionalLine

    @model_validator(mode="after")
    def _says_what(self) -> Reaction:
        if self.acts and not self.action:
            raise ValueError("acts is true, so action must say what is done")
        return self


class Step(FromModel):
    """What the ego does next."""

    action: Line


def conversation(scene: Scene) -> dict[str, str]:
    """What the calls before the scene are about: the question with the turns before it, and the initial response."""
    question = scene.question
    turns = [f"{message.role}: {message.content}" for message in question.earlier]
    text = "\n".join([*turns, f"user: {question.text}"]) if turns else question.text
    return {"question": text, "answer": scene.initial or ""}


def situation(scene: Scene) -> Request[Situation]:
    """Who asks this, where, why and to what end."""
    text = render("situation", **conversation(scene))
    return Request("situation", Situation, lambda _: prompt(text), ROOM)


def cast(scene: Scene) -> Request[Cast]:
    """The other parties, as many as the settings say."""
    assert scene.situation
    given = scene.situation.model_dump(include={"setting", "ego", "who"})
    text = render("cast", **conversation(scene), **given, count=scene.settings.roles)
    return Request("cast", _cast_of(scene.settings.roles), lambda _: prompt(text), 2 * ROOM)


def plan(scene: Scene) -> Request[Plan]:
    """The initial response as the ego's steps, as many as the settings say."""
    assert scene.situation
    given = scene.situation.model_dump(include={"ego", "who", "goal"})
    text = render("plan", **conversation(scene), **given, count=scene.settings.steps)
    return Request("plan", _plan_of(scene.settings.steps), lambda _: prompt(text), 2 * ROOM, scene.situation.ego)


# Asked for exactly as many as wanted; fewer are taken, for servers that do not hold a model to a schema.


@lru_cache
def _cast_of(count: int) -> type[Cast]:
    wanted = Field(min_length=1, max_length=count, json_schema_extra={"minItems": count})
    return create_model("Cast", __base__=Cast, roles=(tuple[Role, ...], wanted))


@lru_cache
def _plan_of(count: int) -> type[Plan]:
    wanted = Field(min_length=1, max_length=count, json_schema_extra={"minItems": count})
    return create_model("Plan", __base__=Plan, steps=(tuple[Line, ...], wanted))


def enter(scene: Scene, cast: Cast, plan: Plan) -> Scene:
    """The scene set up. Every name in it is one role's alone ('Guard', 'Guard 2'): nobody takes another's place."""
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
    return scene.having(cast=Cast(roles=tuple(roles)), plan=plan)


def stage(scene: Scene) -> dict[str, str]:
    """What everyone inside the scene knows: the setting, and the cast as anyone sees it."""
    situation, cast, _ = scene.set_up
    lines = [f"- {situation.ego} (person): {situation.who}"]
    lines += [f"- {role.name} ({role.kind}): {role.traits}" for role in cast.roles]
    return {"setting": situation.setting, "cast": "\n".join(lines)}


def first_move(scene: Scene) -> Move:
    """The ego begins with the first step of its plan."""
    situation, _, plan = scene.set_up
    return Move(step=1, actor=situation.ego, action=plan.steps[0])


def react(scene: Scene, name: str, event: Event) -> Request[Reaction]:
    """What the role `name` does about an event it has observed."""
    _, cast, _ = scene.set_up
    role = next(role for role in cast.roles if role.name == name)

    def messages(limit: int) -> list[Message]:
        memory = recall(scene.observed_by(name), limit, observed)
        return prompt(render("react", **stage(scene), **role.model_dump(), memory=memory, number=event.number))

    return Request("reaction", Reaction, messages, ROOM, name, event.step)


def reactions(action: Event, names: Sequence[str], replies: Sequence[Reaction]) -> list[Move]:
    """The moves of those who act on `action`; who lets it pass makes none."""
    acting = [(name, reply) for name, reply in zip(names, replies, strict=True) if reply.acts]
    return [Move(step=action.step, actor=name, action=reply.action, because=(action.number,)) for name, reply in acting]


def news(scene: Scene, action: Event) -> list[Event]:
    """What the ego has observed since its own `action`."""
    return [event for event in scene.observed_by(action.actor) if event.number > action.number]


def next_step(scene: Scene, news: Sequence[Event]) -> Request[Step]:
    """What the ego does at the next step, having observed `news`."""
    _, _, plan = scene.set_up
    step = scene.events[-1].step + 1
    numbers = ", ".join(f"[{event.number}]" for event in news)
    text = render("next", observed=numbers, planned=plan.steps[step - 1])
    return _ego(scene, "step", step, text)


def next_move(scene: Scene, news: Sequence[Event], chosen: Step | None) -> Move:
    """The next step as chosen, or as planned where the ego had nothing to react to."""
    situation, _, plan = scene.set_up
    step = scene.events[-1].step + 1
    planned = plan.steps[step - 1]
    if chosen is None or chosen.action == planned:
        return Move(step=step, actor=situation.ego, action=planned)
    because = tuple(event.number for event in news)
    return Move(step=step, actor=situation.ego, action=chosen.action, because=because)


def retry(scene: Scene) -> Request[Step]:
    """What the ego does instead of what the modulator has just ruled out."""
    event = scene.events[-1]
    text = render("retry", attempt=event.action, reason=event.verdict.reason)
    return _ego(scene, "retry", event.step, text)


def instead(scene: Scene, chosen: Step) -> Move:
    """The same step again, as chosen after the modulator's refusal."""
    event = scene.events[-1]
    return Move(step=event.step, actor=event.actor, action=chosen.action, because=(event.number,))


def _ego(scene: Scene, kind: Literal["step", "retry"], step: int, task: str) -> Request[Step]:
    situation, _, plan = scene.set_up
    given = situation.model_dump(include={"ego", "who", "motive", "goal"})
    steps = "\n".join(f"{number}. {text}" for number, text in enumerate(plan.steps, start=1))

    def messages(limit: int) -> list[Message]:
        memory = recall(scene.observed_by(situation.ego), limit, observed)
        return prompt(render("ego", **stage(scene), **given, plan=steps, memory=memory, task=task))

    return Request(kind, Step, messages, ROOM, situation.ego, step)
