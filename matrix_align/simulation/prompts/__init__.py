"""The prompts of a scene. They are scientific content, to be read and ablated together."""

from ...llm.prompts import Prompts

PROMPTS = Prompts(__name__)
