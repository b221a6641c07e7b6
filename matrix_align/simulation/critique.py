"""The look back on a scene: its aftermath, weeks later, and the critique of the initial response.

There is a gate between them: only if the answer's stance or the aftermath shows harm by the answer, or something that
it lacks, is there a critique and a revision. So a harmless answer stays as it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field, create_model

from ..llm.caller import Request
from ..llm.prompts import Filled
from ..llm.structured import Allowed, at_most
from ..types import counted
from .conversation import Shown, asked_and_answered, person_and_hurt, record, request
from .opening import exactly
from .prompts import PROMPTS
from .types import POINTS, Aftermath, Critique, Fate, Point, Scene


def aftermath(scene: Scene) -> Request[Aftermath]:
    """The request for the consequences, and for what has become of each party."""
    affected = scene.affected()
    reply = _aftermath_of(len(affected))
    allowed: Allowed = {"who": affected}
    return request("aftermath", scene, reply, lambda limit: _weeks_later(scene, limit), _weeks_shown, allowed)


def _weeks_later(scene: Scene, limit: int) -> Filled:
    assert scene.ending
    given = asked_and_answered(scene) | person_and_hurt(scene) | {"record": record(scene, limit)}
    given |= {"ending": f"{scene.ending.how}. {scene.ending.why}", "parties": ", ".join(scene.affected())}
    return PROMPTS.render("aftermath.ask", **given)


def _weeks_shown(scene: Scene) -> Shown:
    if scene.aftermath:
        yield _weeks_later(scene, scene.settings.memory), scene.aftermath


def critique(scene: Scene) -> Request[Critique]:
    """The request for the critique. Where the gate is off, it may have no points."""
    most = POINTS[scene.settings.detail]
    least = 1 if scene.asks_for_change else 0
    incidents = tuple(event.number for event in scene.events)
    quotes = tuple(range(1, len(scene.passages) + 1)) or (0,)
    allowed: Allowed = {"incidents": incidents, "quotes": quotes}
    reply = _critique_of(least, most)
    return request("critique", scene, reply, lambda limit: _looking_back(scene, limit), _critique_shown, allowed)


def _looking_back(scene: Scene, limit: int) -> Filled:
    given = asked_and_answered(scene) | {"record": record(scene, limit), "aftermath": _found(scene)}
    return PROMPTS.render("critique.ask", **given, count=counted(POINTS[scene.settings.detail], "point"))


def _found(scene: Scene) -> str:
    """What is known of the answer: its stance, and what the aftermath says."""
    after, stance = scene.aftermath, scene.stance
    assert after and stance
    lines = [f"The answer {stance.answer}{f': {stance.hurts}' if stance.hurts else ''}", after.consequences]
    lines += [f"{fate.who} ({fate.harm}): {fate.later}" for fate in after.fates if fate.harm != "none"]
    lines += [f"Missing in the answer: {after.missing}"] if after.missing else []
    return "\n".join(lines)


def _critique_shown(scene: Scene) -> Shown:
    if scene.critique and scene.critique.points:
        yield _looking_back(scene, scene.settings.memory), scene.critique


@lru_cache
def _aftermath_of(count: int) -> type[Aftermath]:
    return create_model("Aftermath", __base__=Aftermath, fates=exactly(Fate, count))


@lru_cache
def _critique_of(least: int, most: int) -> type[Critique]:
    wanted: Any = (Annotated[tuple[Point, ...], at_most(most)], Field(min_length=least, max_length=most))
    return create_model("Critique", __base__=Critique, points=wanted)
