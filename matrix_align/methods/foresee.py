"""Foresee: the model projects the consequences of its own answer in one call, without a scene, and revises the answer.

A baseline of ours for MATRIX (Pang et al., ICML 2024, arXiv 2402.05699): it shows what a scene adds over foresight. It
needs nothing. 2 or 3 calls, one after the other: the initial response; the foresight, which stands for matrix's stance,
scene, aftermath and critique; the revised response. All else is matrix's own: the initial response, the revision with
its prompt, its examples and its checks, and the gate. Where nobody is hurt and nothing useful is missing, the answer
stands, and no revision is asked for. In a brief foresight the model is shown the endings of matrix's examples.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictInt, create_model

from ..llm.caller import Caller, Request
from ..llm.prompts import Filled, Prompts
from ..llm.structured import FromModel, Line, OptionalLine, Passage, Within, at_most
from ..simulation.conversation import REPLY_TOKENS
from ..simulation.examples import examples
from ..simulation.passages import numbered
from ..simulation.prompts import PROMPTS as SCENE
from ..simulation.revise import change, respond, revision, uncited
from ..simulation.types import POINTS, Scene, Settings
from ..types import Draft, Frozen, Message, Question, counted

PROMPTS = Prompts("matrix_align.methods.prompts.foresee")


class ForeseeSettings(Frozen):
    """`detail` decides how long the texts of the foresight may be, as it does for a scene's."""

    detail: Literal["brief", "full"] = "full"


class Change(FromModel):
    """One thing to change in the answer. `quotes` are the numbers of the passages of the answer that it is about."""

    quotes: Annotated[tuple[StrictInt, ...], BeforeValidator(lambda numbers: _each_once(numbers))]
    problem: Line
    change: Line


def _each_once(numbers: Any) -> Any:
    return list(dict.fromkeys(numbers)) if isinstance(numbers, list | tuple) else numbers


class Foresight(FromModel):
    """What the answer will lead to: whom it hurts, what it is, what useful thing it lacks, and what to change."""

    consequences: Passage
    hurts: OptionalLine
    answer: Literal["helps", "hurts", "refuses"]
    missing: OptionalLine
    points: tuple[Change, ...]

    @property
    def asks_for_change(self) -> bool:
        """Matrix's gate."""
        return bool(self.hurts or self.missing or self.answer != "helps")


async def foresee(question: Question, caller: Caller, settings: ForeseeSettings) -> AsyncIterator[Draft]:
    initial = await caller.ask(respond(question))
    cut = caller.calls[-1].cut
    draft = Draft(initial=initial, initial_cut=cut)
    yield draft
    scene = Scene(question=question, settings=Settings(detail=settings.detail), initial=initial)
    foresight = await caller.ask(_foresight(scene))
    yield draft
    if not foresight.asks_for_change:
        yield draft.model_copy(update={"text": initial, "text_cut": cut, "ending": "answer stands"})
        return
    revised = await caller.ask(revision(question, initial, _effects(scene, foresight), scene.settings))
    yield draft.model_copy(update={"text": revised.root, "text_cut": caller.calls[-1].cut, "ending": "revised"})


def _foresight(scene: Scene) -> Request[Foresight]:
    """The request for the foresight. `scene` has only its beginning: the question and the initial response."""
    rules = SCENE.render(f"rules.{scene.settings.detail}")
    system = PROMPTS.render("foresight", rules=rules)
    turns = [Message(role="system", content=system)]
    for example in examples(scene.settings):
        if example.aftermath and example.critique:
            turns.append(Message(role="user", content=_asked(example)))
            turns.append(Message(role="assistant", content=_shown(example).model_dump_json()))
    chat = [*turns, Message(role="user", content=_asked(scene))]
    quotes = tuple(range(1, len(scene.passages) + 1)) or (0,)
    reply = Within(_foresight_of(POINTS[scene.settings.detail]), {"quotes": quotes}, scene.settings.brief)
    return Request("foresight", reply, lambda _: chat, REPLY_TOKENS, examples=len(turns) - 1)


def _asked(scene: Scene) -> Filled:
    points = counted(POINTS[scene.settings.detail], "point")
    return PROMPTS.render("foresight.ask", question=scene.asked(), answer=numbered(scene.initial or ""), count=points)


def _shown(scene: Scene) -> Foresight:
    """The foresight that would have found what this scene found."""
    stance, aftermath, critique = scene.stance, scene.aftermath, scene.critique
    assert stance and aftermath and critique
    hurts = stance.hurts or " ".join(f"{fate.who}: {fate.later}" for fate in aftermath.harmed)
    return Foresight(
        consequences=uncited(aftermath.consequences),
        hurts=hurts,
        answer=stance.answer,
        missing=aftermath.missing,
        points=tuple(
            Change(quotes=point.quotes, problem=uncited(point.problem), change=uncited(point.change))
            for point in critique.points
        ),
    )


def _effects(scene: Scene, foresight: Foresight) -> Iterator[str]:
    """What the revision is told, in matrix's form. Without a point, it is told what is wrong."""
    yield foresight.consequences
    for point in foresight.points:
        yield change(scene, point.quotes, point.problem, point.change)
    if not foresight.points:
        yield from (f"- {text}" for text in (foresight.hurts, foresight.missing) if text)


@cache
def _foresight_of(most: int) -> type[Foresight]:
    points: Any = (Annotated[tuple[Change, ...], at_most(most)], Field(max_length=most))
    return create_model("Foresight", __base__=Foresight, points=points)
