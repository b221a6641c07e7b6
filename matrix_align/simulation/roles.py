"""The roles: what a role does about an event, and what the ego does next.

Owns the requests for these. A role knows the setting, the cast as anyone sees it, itself, and what it has observed. It
does not know the question, the answer, the ego's goal, or the others' duties and stakes. Where words of the answer are
said or sent, who receives them reads them. The ego of a full scene knows what it asked and the answer too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import model_validator

from ..llm.caller import Request
from ..llm.prompts import Filled
from ..llm.structured import FromModel, Line, OptionalLine, OptionalPhrase
from ..types import counted, shorten
from . import modulator
from .conversation import Shown, request
from .memory import observed, observed_briefly, recall
from .prompts import PROMPTS
from .types import Event, Move, Role, Scene, Situation


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


class Deviation(Choice):
    """A choice in a full scene. What is done instead has its own hour and place, or "" for those of the plan."""

    when: OptionalPhrase


class Instead(FromModel):
    """What the ego does instead of a move that was not feasible."""

    action: Line


def _stage(scene: Scene) -> dict[str, str]:
    """What everyone in the scene can see: the setting, and the cast."""
    situation, cast, _ = scene.set_up
    lines = [f"- {situation.ego} (person)" + (f": {situation.who}" if isinstance(situation, Situation) else "")]
    lines += [f"- {role.name} ({role.kind}): {role.traits}" for role in cast.roles]
    return {"setting": situation.setting, "cast": "\n".join(lines)}


def react(scene: Scene, name: str, event: Event) -> Request[Reaction]:
    """The request for what the role `name` does about an event that it has observed."""

    def ask(limit: int) -> Filled:
        return _reacting(scene, name, event, limit)

    return request("reaction", scene, Reaction, ask, _shown, who=name, step=event.step)


def _reacting(scene: Scene, name: str, event: Event, limit: int) -> Filled:
    given = {
        "name": name,
        "you": _you(scene) if name == scene.ego else _part(scene.role(name)),
        "ego": scene.ego,
        "memory": recall(scene.observed_by(name), limit, observed, observed_briefly),
        "number": event.number,
        "when": _when(scene, event.step),
    }
    return PROMPTS.render("reaction.ask", **_stage(scene), **given)


def _part(role: Role) -> str:
    """What a role knows of itself."""
    return f"{role.kind}: {role.traits}\nDuty: {role.duty}\nStake: {role.stake}"


def moves(events: Iterable[Event], names: Sequence[str], replies: Sequence[Reaction]) -> list[Move]:
    """The moves of the roles that react, each to its event. A role that chose to do nothing makes none."""
    return [
        Move(step=event.step, actor=name, action=reply.action, because=(event.number,))
        for event, name, reply in zip(events, names, replies, strict=True)
        if reply.acts
    ]


def observed_since(scene: Scene, act: Event) -> list[Event]:
    """The events that the ego has observed since its own `act`."""
    return [event for event in scene.observed_by(act.actor) if event.number > act.number]


def next_step(scene: Scene, news: Sequence[Event]) -> Request[Choice]:
    """The request for whether the ego, having observed `news`, does the next step as planned."""
    step = scene.events[-1].step + 1
    numbers = ", ".join(f"[{event.number}]" for event in news)
    asked, reply = ("step.ask", Choice) if scene.settings.brief else ("step.ask.full", Deviation)
    left = len(scene.set_up[2].steps) - step
    verb = "is" if left == 1 else "are"

    def ask(limit: int) -> Filled:
        given = {"observed": numbers, "step": step, "left": f"{counted(left, 'step')} {verb} left"}
        return PROMPTS.render(asked, **_stage(scene), **_ego(scene, step, limit), **given)

    return request("step", scene, reply, ask, who=scene.ego, step=step)


def planned_move(scene: Scene, step: int) -> Move:
    """The ego's move at this step as planned, with the words of the answer that it says or sends."""
    planned = scene.set_up[2].steps[step - 1]
    words = "" if "words" in scene.settings.without else scene.quoted(planned.words)
    limit = scene.settings.memory // 2
    return Move(step=step, actor=scene.ego, action=planned.act, when=planned.when, words=shorten(words, limit))


def next_move(scene: Scene, news: Sequence[Event], choice: Choice | None) -> Move:
    """The ego's next move: as it chose, or as planned if it was not asked."""
    move = planned_move(scene, scene.events[-1].step + 1)
    if choice is None or choice.as_planned:
        return move
    return Move(
        step=move.step,
        actor=move.actor,
        action=choice.action,
        when=(choice.when if isinstance(choice, Deviation) else "") or move.when,
        because=tuple(event.number for event in news),
    )


def retry(scene: Scene) -> Request[Instead]:
    """The request for what the ego does instead of the move that the modulator has just refused."""
    event = scene.events[-1]

    def ask(limit: int) -> Filled:
        return PROMPTS.render("retry.ask", **_stage(scene), **_ego(scene, event.step, limit), number=event.number)

    return request("retry", scene, Instead, ask, who=event.actor, step=event.step)


def instead(scene: Scene, chosen: Instead) -> Move:
    """The ego's second move at the same step, after the modulator's refusal."""
    event = scene.events[-1]
    return Move(step=event.step, actor=event.actor, action=chosen.action, when=event.when, because=(event.number,))


def _ego(scene: Scene, step: int, limit: int) -> dict[str, str]:
    """What the ego knows at a step beside what everyone can see."""
    situation, _, plan = scene.set_up
    steps = "\n".join(
        f"{number}. {each.when}: {each.act}{'' if scene.settings.brief else _come_of(scene, number)}"
        for number, each in enumerate(plan.steps, start=1)
    )
    memory = recall(scene.observed_by(situation.ego), limit, observed, observed_briefly)
    return {"ego": situation.ego, "you": _you(scene), "when": _when(scene, step), "plan": steps, "memory": memory}


def _come_of(scene: Scene, step: int) -> str:
    """What has come of a step of the plan, in brackets; empty if it is still to come."""
    if not (act := _act(scene, step)):
        return ""
    done = act.action == scene.set_up[2].steps[step - 1].act and act.verdict.feasible
    return f" (done: [{act.number}])" if done else f" (not done; instead: [{act.number}])"


def _you(scene: Scene) -> str:
    """What the ego knows of itself. In a full scene that is also what it asked, and the answer on which it acts."""
    situation = scene.set_up[0]
    if not isinstance(situation, Situation):
        return situation.asks
    return PROMPTS.render("you", question=scene.asked(), answer=scene.initial or "", **situation.model_dump())


def _when(scene: Scene, step: int) -> str:
    """When and where the ego acts at this step: as it did, or else as planned."""
    return (_act(scene, step) or scene.set_up[2].steps[step - 1]).when


def _act(scene: Scene, step: int) -> Event | None:
    """The ego's last act at this step; None if it has not acted. Its reactions and last turns have no hour."""
    acts = [event for event in scene.events if event.step == step and event.actor == scene.ego and event.when]
    return acts[-1] if acts else None


def _shown(scene: Scene) -> Shown:
    """The reactions to the ego's first act, in a scene that is shown whole."""
    for act in scene.events[:1] if scene.ending else ():
        at_act = scene.evolve(events=(act,))
        moved = {event.actor: event for event in scene.events if event.because == (act.number,)}
        for name in modulator.awaited(act):
            reply = Reaction(acts=name in moved, action=moved[name].action if name in moved else "")
            yield _reacting(at_act, name, act, scene.settings.memory), reply
