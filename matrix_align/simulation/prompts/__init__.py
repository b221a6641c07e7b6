"""The words of a scene's calls: scientific content, read and ablated together."""

from ...llm.prompts import Prompts

PROMPTS = Prompts(__name__)
