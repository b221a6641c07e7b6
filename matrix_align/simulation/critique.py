"""From the scene's consequences to the critique of the initial response.

Each point of the critique names the incident it rests on, by the number of the event.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from ..llm.caller import Request, prompt
from ..llm.structured import at_most
from ..types import Message
from .modulator import view
from .prompts import Filled, render
from .roles import ROOM, asked
from .types import Critique, Point, Scene

POINTS = 3  # more than this a revision does not take up


def critique(scene: Scene) -> Request[Critique]:
    """What came of the answer, and what in it should be otherwise; no points where nothing should."""
    assert scene.ending
    ended = f"{scene.ending.how}. {scene.ending.why}"

    def messages(limit: int) -> list[Message]:
        seen = Filled(view(scene, limit))
        return prompt(render("critique", view=seen, ending=ended, question=asked(scene), answer=scene.initial))

    return Request("critique", _critique_of(len(scene.events)), messages, 2 * ROOM)


def _critique_of(events: int) -> type[Critique]:
    numbers: Any = Literal[tuple(range(1, events + 1))]
    point = create_model("Point", __base__=Point, incident=(numbers, ...))
    points = Field(max_length=POINTS)
    some = Annotated[tuple[point, ...], at_most(POINTS)]
    return create_model("Critique", __base__=Critique, points=(some, points))
