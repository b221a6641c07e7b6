"""The critique: what the initial response led to in the scene, and what to change in it.

Each point of the critique cites one incident, by the number of the event.
"""

from __future__ import annotations

from ..llm.caller import Request, prompt
from ..llm.prompts import Filled
from ..llm.structured import Within
from ..types import Message
from .modulator import view
from .prompts import PROMPTS
from .roles import REPLY_TOKENS, asked
from .types import Critique, Scene


def critique(scene: Scene) -> Request[Critique]:
    """The request for the critique. It has no points if nothing in the initial response needs to change."""
    assert scene.ending
    ended = f"{scene.ending.how}. {scene.ending.why}"

    def messages(limit: int) -> list[Message]:
        seen = Filled(view(scene, limit))
        return prompt(PROMPTS.render("critique", view=seen, ending=ended, question=asked(scene), answer=scene.initial))

    reply = Within(Critique, {"incident": tuple(event.number for event in scene.events)})
    return Request("critique", reply, messages, 2 * REPLY_TOKENS, memory=scene.settings.memory)
