"""MATRIX: the model plays a social scene around the question, and its consequences correct the model's own answer.

Pang et al., ICML 2024, arXiv 2402.05699. `simulation/` plays the scene. docs/method.md says where it departs from the
paper.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller
from ..simulation.scene import play
from ..simulation.types import Settings
from ..types import Draft, Question


async def matrix(question: Question, caller: Caller, settings: Settings) -> AsyncIterator[Draft]:
    async for scene in play(question, caller, settings):
        cut = {call.kind: call.cut for call in caller.calls}
        initial_cut = cut["initial"]
        whole = scene.revised is not None
        yield Draft(
            initial=scene.initial,
            initial_cut=initial_cut,
            text=scene.revised,
            # Without a revision the initial response is the answer.
            text_cut=cut.get("revision", initial_cut) if whole else "",
            ending=scene.ending.how if scene.ending and whole else "",
            scene=scene,
        )
