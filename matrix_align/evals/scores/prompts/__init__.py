"""The prompts of the judge. NAME.md asks for the verdict of the score NAME, and turn.ROLE.md is one turn of a chat."""

from ....llm.prompts import Prompts

PROMPTS = Prompts(__name__)
