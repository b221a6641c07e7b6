"""The prompts of a scene, and the scenes that are shown as examples. They are scientific content, to be ablated.

For each kind of call, KIND.md is the instruction, and KIND.ask.md is what is asked about one scene. The examples are
whole scenes, so KIND.ask.md is filled in with them as with the scene at hand.
"""

from ...llm.prompts import Prompts

PROMPTS = Prompts(__name__)
