"""What a model does on held-out questions: does it refuse, how long are its answers, does it still play scenes.

Owns what is measured and how two measurements of the same things are set side by side. Whether a text refuses is told
by set phrases (refusal.py), which is crude. Knows no weights; preference accuracy, which needs them, is handed in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from pydantic import ValidationError

from .endpoint import Model
from .errors import InputError
from .generate import whole
from .refusal import refuses
from .sources import Fault, Row, read
from .stats import Share, difference, share
from .store import Recorded, Store
from .types import Frozen, Question, Sampling, Scene, Settings

FILE = "measured.json"


class Answered(Frozen):
    """One question, answered at temperature 0. `cut`: the answer had reached its longest length."""

    id: str
    category: str
    answer: str
    refused: bool
    cut: bool


class Played(Frozen):
    """One scene: whether it ended well, with a revised response, and whether its rulings were not all alike."""

    id: str
    well: bool
    varied: bool
    error: str


class Measured(Frozen):
    """All that was measured of one model. `preferred`: for each pair, did it find the chosen reply likelier;
    None where a pair was too long.
    """

    model: str
    digest: str
    answers: tuple[Answered, ...] = ()
    scenes: tuple[Played, ...] = ()
    preferred: tuple[bool | None, ...] = ()


def held_out(source: str, category: str, limit: int | None) -> list[Question]:
    """The questions of a source, as many as `limit`. Raises InputError, also for a row that can't be used."""
    found: list[Question] = []
    for row in read(source):
        if isinstance(row, Fault):
            raise InputError(f"{row.place}: {row.reason}; a measurement is of all rows or none")
        if isinstance(row, Row) and row.question not in found:
            found.append(row.question)
        if limit and len(found) == limit:
            break
    if not found:
        raise InputError(f"{source} holds no question to measure {category} ones by")
    return found


async def measure(
    model: Model,
    questions: Mapping[str, Sequence[Question]],
    settings: Settings,
    scenes: int,
    store: Store,
) -> Measured:
    """Asks all `questions`, by category, and plays `scenes` of them, in turn of each category.

    What was asked before is read from `store`. Raises ModelError where an answer can't be had; a scene that fails is a
    result.
    """
    recorded = Recorded(model, store)
    asked = [(category, question) for category, each in questions.items() for question in each]
    sampling = Sampling(temperature=0, max_tokens=settings.max_tokens, seed=settings.seed)
    try:
        async with asyncio.TaskGroup() as group:
            replies = [group.create_task(recorded.ask(question.messages(), str, sampling)) for _, question in asked]
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    answers = [
        Answered(id=_id(question), category=category, answer=said.value, refused=refuses(said.value), cut=said.cut)
        for (category, question), reply in zip(asked, replies, strict=True)
        for said in [reply.result()]
    ]
    lists = list(questions.values())
    chosen = [each[turn] for turn in range(max(map(len, lists), default=0)) for each in lists if turn < len(each)]
    played = await asyncio.gather(*(whole(question, recorded, settings) for question in chosen[:scenes]))
    return Measured(
        model=model.name,
        digest=model.digest,
        answers=tuple(answers),
        scenes=tuple(_judged(scene) for scene, _ in played),
    )


def _judged(scene: Scene) -> Played:
    rulings = {(e.verdict.feasible, e.verdict.ending, bool(e.verdict.harm), e.verdict.observers) for e in scene.events}
    well = not scene.error and bool(scene.ending and scene.revised)
    return Played(id=_id(scene.question), well=well, varied=len(rulings) > 1, error=scene.error or "")


def _id(question: Question) -> str:
    return hashlib.sha256(question.model_dump_json().encode()).hexdigest()[:16]


def preferred(margins: Sequence[float]) -> tuple[bool | None, ...]:
    """Margins of log-probability as a measurement keeps them."""
    return tuple(None if math.isnan(each) else each > 0 for each in margins)


def load(folder: Path) -> Measured:
    """A measurement that was written. Raises InputError where there is none."""
    try:
        return Measured.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"can't read {folder / FILE}: {error.strerror}; `matrix-align measure --out` makes it"
        ) from None
    except ValidationError:
        raise InputError(f"{folder / FILE} is no measurement of ours") from None


def save(measured: Measured, folder: Path) -> None:
    half = folder / f".{FILE}.part"
    half.write_text(measured.model_dump_json(indent=1) + "\n", encoding="utf-8")
    half.replace(folder / FILE)


# What is true or not of each thing measured, by what it is called in the table.
def signs(measured: Measured) -> dict[str, dict[str, bool]]:
    """Measure → thing → whether it is so."""
    found: dict[str, dict[str, bool]] = {}
    for each in measured.answers:
        found.setdefault(f"refuses {each.category} questions", {})[each.id] = each.refused
    for played in measured.scenes:
        found.setdefault("scenes that end well", {})[played.id] = played.well
        found.setdefault("scenes whose rulings vary", {})[played.id] = played.varied
    for number, told in enumerate(measured.preferred):
        if told is not None:
            found.setdefault("preference accuracy", {})[str(number)] = told
    return found


def shares(measured: Measured) -> dict[str, Share]:
    return {name: share(list(things.values())) for name, things in signs(measured).items()}


def changes(before: Measured, after: Measured) -> dict[str, Share]:
    """For each measure the difference on the things that both have, with its interval."""
    one, other = signs(before), signs(after)
    both = {name: [id for id in things if id in other.get(name, {})] for name, things in one.items()}
    return {
        name: difference([one[name][id] for id in ids], [other[name][id] for id in ids])
        for name, ids in both.items()
        if ids
    }


def table(columns: dict[str, Measured]) -> str:
    """A Markdown table: a row for each measure, a column for each model; the first is what others are compared to."""
    names = list(columns)
    told = {name: shares(measured) for name, measured in columns.items()}
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    first = columns[names[0]]
    for measure_name in dict.fromkeys(name for each in told.values() for name in each):
        cells = []
        for name in names:
            cell = str(told[name].get(measure_name, "not measured"))
            if name != names[0] and (change := changes(first, columns[name]).get(measure_name)):
                cell += f"; {change.part * 100:+.0f} points ({change.low * 100:+.0f} to {change.high * 100:+.0f})"
            cells.append(cell)
        lines.append(f"| {measure_name} | {' | '.join(cells)} |")
    lengths = [_lengths(measured) for measured in columns.values()]
    if any(lengths):
        lines.append(f"| words an answer, median | {' | '.join(lengths)} |")
    return "\n".join(lines)


def _lengths(measured: Measured) -> str:
    words = [len(each.answer.split()) for each in measured.answers]
    cut = sum(each.cut for each in measured.answers)
    return f"{median(words):.0f}; {cut} of {len(words)} cut off" if words else ""


def summary(measured: Measured) -> str:
    """The shares as one JSON object."""
    told = {name: vars(each) for name, each in shares(measured).items()}
    return json.dumps({"model": measured.model, "digest": measured.digest, "measures": told})
