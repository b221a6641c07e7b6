"""Runs to rate, written without a model, and a rating of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from matrix_align import METHODS, Answer, Question, Sampling
from matrix_align.data.sources import Category, SourceRow
from matrix_align.evals.rating.folder import RATINGS, Plan, new
from matrix_align.evals.rating.store import Ratings
from matrix_align.evals.rating.types import Given, Item, Rater, Showing
from matrix_align.generate.run import Run
from matrix_align.methods import Setup
from matrix_align.methods.vanilla import NoSettings
from matrix_align.web.app import app
from matrix_align.web.guard import Access

from .pages import served_at

Rule = Callable[[Item, Showing], str]  # the level that a scripted rater gives


def a_run(folder: Path, answers: Mapping[str, str], harmful: Callable[[int], bool] = lambda n: n % 2 == 1) -> Path:
    """A run that answers these questions so; every second one counts as harmful, though none is."""
    setup = Setup(METHODS["vanilla"], NoSettings(), Sampling())
    rows = []
    for number, text in enumerate(answers):
        category: Category = "harmful" if harmful(number) else "helpful"
        rows.append(SourceRow(f"q.jsonl:{number + 1}", "q.jsonl", Question(text=text), category))
    with Run(folder, setup, "fake-model") as run:
        run.inputs.take([rows])
        for number, entry in enumerate(list(run.inputs.waiting())):
            given: dict[str, Any] = {"model": "fake-model", "digest": "", "settings": {}, "sampling": Sampling()}
            answer = Answer(
                id=f"{folder.name}{number}",
                method="vanilla",
                question=entry.question,
                text=answers[entry.question.text],
                **given,
            )
            run.inputs.close(entry, answer)
    return folder


def questions(count: int) -> list[str]:
    return [f"How do I plant tree number {number}?" for number in range(count)]


def two_runs(folder: Path, count: int, same: int = 0) -> list[Path]:
    """A worse and a better run on `count` questions. The first `same` answers are the same in both."""
    asked = questions(count)
    old = dict.fromkeys(asked, "Dig a hole.")
    new_ = {text: "Dig a hole." if n < same else f"Dig a good hole, {n}." for n, text in enumerate(asked)}
    return [a_run(folder / "old", old), a_run(folder / "new", new_)]


def gold_file(path: Path, count: int) -> Path:
    rows = [
        {"prompt": f"How much is {n} and {n}?", "chosen": f"It is {2 * n}.", "rejected": f"It is {2 * n + 1}."}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def a_rating(folder: Path, runs: list[Path], *raters: str, **plan: Any) -> list[Rater]:
    return new(folder, Plan(runs, **plan), raters)[1]


def rate_all(folder: Path, rules: Mapping[str, Rule], seconds: float = 2.0) -> int:
    """Lets each rater rate all they are shown, by their rule. Returns how many ratings there are then."""
    with Ratings(folder / RATINGS) as ratings:
        items = {item.id: item for item in ratings.items()}
        for rater in ratings.raters():
            while rater.name in rules and (showing := ratings.next(rater)):
                level = rules[rater.name](items[showing.item], showing)
                given = Given.model_validate({"level": level, "seconds": seconds})
                assert ratings.rate(rater, showing.id, given)
        return len(ratings.rated())


def fair(item: Item, showing: Showing) -> str:
    """Names the candidate, which is the better one in gold items too."""
    return "A>B" if showing.as_a == "candidate" else "B>A"


def likes_a(item: Item, showing: Showing) -> str:
    return "A>B"


def rating_page(*folders: Path) -> AbstractContextManager[str]:
    """The address of the app with the pages of these ratings, as `serve` has them."""
    return served_at(app(None, Access(), folders))
