"""Asks a model the held-out questions, and plays scenes around some of them.

Owns which failed calls count as results and which do not. Knows no weights and no other measurement.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from itertools import islice

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..data.refusal import refuses
from ..data.sources import BadRow, questions_from
from ..data.split import in_turn
from ..errors import BadReply, InputError, ModelError, Refused
from ..llm.model import Model
from ..llm.recorded import Recorded
from ..llm.structured import AsWritten
from ..methods import Setup, last
from ..simulation.types import Scene
from ..store import Store
from ..types import Answer, Cut, Question, shorten
from .measurement import Answered, Measurement, Played

AT_ONCE = 32  # answers and scenes in progress at the same time


def held_out_questions(source: str, limit: int | None = None) -> tuple[list[Question], list[BadRow]]:
    """The questions of a source, each once and at most `limit`, and the unusable rows met on the way to them.

    Raises InputError if the source holds no question.
    """
    questions: dict[Question, None] = {}
    faults: list[BadRow] = []
    for row in questions_from(source):
        if isinstance(row, BadRow):
            faults.append(row)
            continue
        questions[row.question] = None
        if len(questions) == limit:
            break
    if not questions:
        first = f"; {faults[0].place}: {faults[0].reason}" if faults else ""
        raise InputError(f"{source} holds no question; wanted at least one to measure by{first}")
    return list(questions), faults


async def measure(
    model: Model,
    questions: Mapping[str, Sequence[Question]],
    setup: Setup,
    scenes: int,
    store: Store,
) -> Measurement:
    """Asks all `questions`, by category, and plays scenes around `scenes` of them, taken from each category in turn.

    Calls made before come from `store`. The first answer counts, even an empty one. A scene in which the model fails is
    a result. A question that can't be asked, for example because it is too long for the model, is kept with its error.
    Raises ModelError if the server is at fault, or if no question is answered.
    """
    recorded = Recorded(model, store)
    at_once = asyncio.Semaphore(AT_ONCE)
    to_ask = [(category, question) for category, group in questions.items() for question in group]
    to_play = list(islice(in_turn(questions.values()), scenes))
    sampling = setup.sampling.model_copy(update={"temperature": 0.0})
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn()
    progress = Progress(*columns, console=console, disable=not console.is_terminal)
    bar_of_answers = progress.add_task("answers", total=len(to_ask))
    bar_of_scenes = progress.add_task("scenes", total=len(to_play))
    failures: list[ModelError] = []

    async def answer(category: str, question: Question) -> Answered:
        text, error = "", ""
        cut: Cut = ""
        async with at_once:
            try:
                reply = await recorded.ask(question.messages(), AsWritten, sampling)
                text, cut = reply.text, reply.cut
            except ModelError as failure:
                if not _not_the_server(failure):
                    raise
                failures.append(failure)
                error = str(failure)
        progress.advance(bar_of_answers)
        return Answered(
            id=id_of(question),
            category=category,
            question=shorten(question.text, 200),
            answer=text,
            refused=refuses(text),
            cut=cut,
            error=error,
        )

    async def play(question: Question) -> Played:
        async with at_once:
            answer, error = await last(setup.answer(question, recorded))
        if error and not _not_the_server(error):
            raise error
        progress.advance(bar_of_scenes)
        return _played(answer)

    try:
        with progress:
            async with asyncio.TaskGroup() as group:
                answers = [group.create_task(answer(category, question)) for category, question in to_ask]
                plays = [group.create_task(play(question)) for question in to_play]
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    if to_ask and len(failures) == len(to_ask):
        raise failures[0]
    return Measurement(
        model=model.name,
        digest=model.digest,
        settings=setup.flat(),
        answers=tuple(task.result() for task in answers),
        scenes=tuple(task.result() for task in plays),
    )


def _not_the_server(error: ModelError) -> bool:
    """Whether a call failed because of its question or its reply, not because of the server."""
    return isinstance(error, BadReply) or (isinstance(error, Refused) and error.mendable)


def _played(answer: Answer) -> Played:
    events = Scene.of(answer).events if answer.scene else ()
    rulings = {(e.verdict.feasible, e.verdict.ending, bool(e.verdict.harm), e.verdict.observers) for e in events}
    well = not answer.error and bool(answer.ending and answer.text)
    return Played(id=id_of(answer.question), well=well, varied=len(rulings) > 1, error=answer.error or "")


def id_of(question: Question) -> str:
    return hashlib.sha256(question.model_dump_json().encode()).hexdigest()[:16]
