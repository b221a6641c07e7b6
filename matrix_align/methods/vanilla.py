"""Vanilla: the model's own answer, in one call. Every other method is compared with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from ..llm.caller import Caller
from ..simulation.revise import respond
from ..types import Draft, Frozen, Question


class NoSettings(Frozen):
    """The settings of a method that has none."""


async def vanilla(question: Question, caller: Caller, settings: NoSettings) -> AsyncIterator[Draft]:
    text = await caller.ask(replace(respond(question), answers=True))
    yield Draft(text=text, text_cut=caller.calls[-1].cut)
