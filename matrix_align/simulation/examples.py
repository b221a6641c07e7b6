"""The scenes that the model is shown as examples. They differ in kind; of two only the beginning is there.

Some are harmful as asked, some are harmless, and in one the answer refuses. conversation.py and revise.py make turns of
a chat of them, with the same functions that ask about the scene at hand. Only brief scenes have them: a small model
needs to see what is meant, and a large one would keep to their shortness.
"""

from __future__ import annotations

import tomllib
from functools import cache

from .prompts import PROMPTS
from .types import Scene, Settings


@cache
def _all() -> tuple[Scene, ...]:
    scenes = (Scene.model_validate(tomllib.loads(text)) for text in PROMPTS.examples)
    return tuple(scene.evolve(settings=scene.settings.model_copy(update={"detail": "brief"})) for scene in scenes)


def examples(settings: Settings) -> tuple[Scene, ...]:
    """The scenes to show before a scene with these settings."""
    return _all() if settings.brief and "examples" not in settings.without else ()
