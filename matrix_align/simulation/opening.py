"""The opening of a scene: who asks and why; what the answer is; what this person does with it, and who else is there.

Owns the requests for these and the checks on their replies.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field, create_model

from ..llm.caller import Request
from ..llm.prompts import Filled
from ..llm.structured import FromModel, at_most
from ..types import counted
from .conversation import Shown, asked_and_answered, person, request
from .prompts import PROMPTS
from .types import Asker, Cast, Plan, Refusal, Risk, Role, Scene, Situation, Stance, Step


def situation(scene: Scene) -> Request[Any]:
    """The request for who asks the question: an `Asker`, or in a full scene a `Situation`.

    It needs no answer, so it is made beside the initial response.
    """
    if scene.settings.brief:
        return request("asker", scene, Asker, lambda _: _who(scene), _who_shown)
    return request("situation", scene, Situation, lambda _: _who(scene))


def _who(scene: Scene) -> Filled:
    return PROMPTS.render("question.ask", question=scene.asked())


def _who_shown(scene: Scene) -> Shown:
    if scene.situation:
        yield _who(scene), scene.situation


def risk(scene: Scene) -> Request[Risk]:
    """The request for what comes of it for others if what is asked is done, in a brief scene. It needs no answer."""
    return request("risk", scene, Risk, lambda _: _who(scene), _risk_shown)


def _risk_shown(scene: Scene) -> Shown:
    if scene.risk:
        yield _who(scene), scene.risk


def stance(scene: Scene) -> Request[Any]:
    """The request for what the initial response does, judged by itself: a `Refusal`, or in a full scene a `Stance`.

    It is made beside the opening.
    """
    if scene.settings.brief:
        return request("refusal", scene, Refusal, lambda _: _judged(scene), _refusal_shown)
    return request("stance", scene, Stance, lambda _: _judged(scene))


def stance_of(scene: Scene, reply: Refusal | Stance) -> Stance:
    """The stance. In a brief scene, an answer that does not refuse helps to do what the question asks."""
    if isinstance(reply, Stance):
        return reply
    hurts = scene.risk.hurts if scene.risk else ""
    return Stance(hurts=hurts, answer="refuses" if reply.refuses else "hurts" if hurts else "helps")


def _judged(scene: Scene) -> Filled:
    return PROMPTS.render("stance.ask", question=scene.asked(), answer=scene.initial or "")


def _refusal_shown(scene: Scene) -> Shown:
    if scene.stance:
        yield _judged(scene), Refusal(refuses=scene.stance.answer == "refuses")


class Opening(FromModel):
    """The ego's plan, and the cast that it touches. One call writes both, so the cast fits the plan."""

    steps: tuple[Step, ...]
    roles: tuple[Role, ...]


def opening(scene: Scene) -> Request[Opening]:
    """The request for the plan and the cast, with as many steps and roles as the settings say."""
    assert scene.situation
    reply = _opening_of(scene.settings.steps, scene.settings.roles)
    numbers = tuple(range(1, len(scene.passages) + 1)) or (0,)
    return request("opening", scene, reply, lambda _: _opened(scene), _opened_shown, {"words": numbers})


def _opened(scene: Scene) -> Filled:
    steps, roles = counted(scene.settings.steps, "step"), counted(scene.settings.roles, "role")
    return PROMPTS.render("opening.ask", **asked_and_answered(scene), **person(scene), steps=steps, roles=roles)


def _opened_shown(scene: Scene) -> Shown:
    if scene.plan and scene.cast and scene.ending:
        yield _opened(scene), Opening(steps=scene.plan.steps, roles=scene.cast.roles)


def enter(scene: Scene, opening: Opening) -> Scene:
    """The scene with its cast and plan. A role whose name is taken gets a number ('Guard', 'Guard 2').

    A role with the ego's name is the ego once more, and is left out if there are others.
    """
    assert scene.situation
    taken = {scene.situation.ego.casefold()}
    roles: list[Role] = []
    others = [role for role in opening.roles if role.name.casefold() not in taken]
    for role in others or opening.roles:
        name, copy = role.name, 1
        while name.casefold() in taken:
            copy += 1
            name = f"{role.name[:36]} {copy}"
        taken.add(name.casefold())
        roles.append(role.model_copy(update={"name": name}))
    return scene.evolve(cast=Cast(roles=tuple(roles)), plan=Plan(steps=opening.steps))


# The schemas ask for an exact number. A server that does not enforce it may return fewer, or more, which are cut.


@lru_cache
def _opening_of(steps: int, roles: int) -> type[Opening]:
    return create_model("Opening", __base__=Opening, steps=exactly(Step, steps), roles=exactly(Role, roles))


def exactly(item: Any, count: int) -> Any:
    """The field of a reply that lists `count` items."""
    wanted = Field(min_length=1, max_length=count, json_schema_extra={"minItems": count})
    return (Annotated[tuple[item, ...], at_most(count)], wanted)
