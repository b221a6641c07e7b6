"""The prompts of a comparison. `criteria` is part of what the judge reads, and of what people read (`rater`)."""

from ....llm.prompts import Prompts

PROMPTS = Prompts(__name__)
