"""The model's own answer, in one call: what every other method is compared with."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller
from ..simulation.revise import respond
from ..types import Draft, Frozen, Question


class NoSettings(Frozen):
    """Of a method that takes none."""


async def vanilla(question: Question, caller: Caller, settings: NoSettings) -> AsyncIterator[Draft]:
    text = await caller.ask(respond(question))
    yield Draft(text=text, text_cut=caller.calls[-1].cut)
