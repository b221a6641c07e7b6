"""One evaluation from questions to report: answers, scores, pairs, figures, in a folder that resumes.

Owns the order of the stages. Every stage reads what the one before left on disk, and a call that was made is read from
its record; so after a stop, whatever stopped it, the same command goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from ...llm.model import Model
from ...llm.pool import Server, Stopped, Tally
from ...llm.recorded import Recorded
from ...methods import Setup
from ...store import Store
from ...types import counted, shorten
from ..benchmarks import Item, Items
from ..pairwise.compare import results
from ..pairwise.judge import likeness
from ..pairwise.statistics import holm
from ..pairwise.types import Judged, Pairing
from . import figures
from .grid import Cell, answer_all, grid, outcomes
from .judging import AllScores, Outcomes, UntilStopped, WhileThere, score_all
from .page import HTML, write_report
from .pairing import Decided, Pairs, by_judge, by_ratings, pairings, send_out, sent
from .progress import Progress
from .report import Asked, Rated, Report, Versus
from .samples import samples

LISTED = 5  # rows of a benchmark, and lines of ratings, that can't be used and are named
JUDGED = "judge.db"  # the record of the judge's calls
SCORES = "scores.jsonl"


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate. `read` has what was read of each benchmark, `questions` those of its items that are asked.

    `sources` are as they were named. `ratings` are files that came back. `once`: pairs that go out show one order.
    `began` is a day.
    """

    out: Path
    sources: Mapping[str, str]
    read: Mapping[str, Items]
    questions: dict[str, tuple[Item, ...]]
    setups: Sequence[Setup]
    against: str
    ratings: Sequence[Path]
    once: bool = False
    began: str = ""

    @property
    def methods(self) -> list[str]:
        return [setup.method.name for setup in self.setups]

    def cells(self) -> list[Cell]:
        return grid(self.out, self.questions, self.setups)


async def answers(evaluation: Evaluation, servers: Sequence[Server], tally: Tally, console: Console) -> None:
    """Makes the answers that are not there yet, until `tally` says to stop. Raises what `generate` raises."""
    await answer_all(evaluation.cells(), servers, tally, Progress(console, tally))


async def report(
    evaluation: Evaluation, model: tuple[str, str], judge: Model | None, tally: Tally, console: Console
) -> tuple[Report, bool]:
    """Scores and compares the answers, and writes the report into the folder.

    `model` is the name and the digest of the model under test, `tally` the account of the judge's calls. A verdict that
    can't be had is missing. Returns too whether the judge failed: before the end, or without any verdict. Raises
    Stopped if `tally` says to stop, InputError and StoreError.
    """
    cells, progress = evaluation.cells(), Progress(console, tally)
    made: Outcomes = {(cell.benchmark, cell.method): outcomes(cell) for cell in cells}
    pairs = pairings(cells, evaluation.against)
    with Store(evaluation.out / JUDGED) as store:
        asked = WhileThere(judge) if judge else None
        recorded = UntilStopped(Recorded(asked, store), tally) if asked else None
        try:
            scores = await score_all(cells, made, recorded, progress)
            decided = await _decided(evaluation, pairs, recorded, progress)
        except BaseExceptionGroup as several:  # the record can't be written
            raise _first(several) from None
    if tally.stop:
        raise Stopped(tally.stop)
    _write_scores(evaluation.out / SCORES, scores)
    warnings = [*_own_judges(judge, decided.raters, model), *_about_ratings(decided)]
    failed = _failed(asked, recorded) if asked and recorded else ""
    if failed:
        warnings.append(failed)
    if waiting := sum(made_of.why == "not answered yet" for group in made.values() for made_of in group.values()):
        warnings.append(f"{counted(waiting, 'question')} are not answered yet; the same command goes on.")
    versus, ratings, more = _compared(pairs, decided)
    done = Report(
        model=model[0],
        digest=model[1],
        version=version("matrix-align"),
        began=evaluation.began,
        written=f"{date.today()}",
        against=evaluation.against,
        judge=judge.name if judge else "",
        judge_digest=judge.digest if judge else "",
        raters=decided.raters,
        sent=decided.sent,
        settings=_settings(evaluation.setups),
        asked=tuple(_asked(evaluation, benchmark) for benchmark in evaluation.questions),
        parts=figures.parts(cells, made, scores, bool(judge)),
        standings=figures.standings(evaluation.methods, scores, bool(judge)),
        changes=figures.changes(evaluation.methods, evaluation.against, scores, bool(judge)),
        costs=figures.costs(evaluation.methods, made),
        versus=versus,
        ratings=ratings,
        samples=samples(evaluation.questions, pairs, decided, evaluation.setups[0].sampling.seed),
        warnings=(*warnings, *more),
    )
    write_report(done, evaluation.out)
    console.print(f"The report: {evaluation.out / HTML}", soft_wrap=True, highlight=False)
    return done, bool(failed)


def _failed(asked: WhileThere, recorded: UntilStopped) -> str:
    if asked.gone:
        why = shorten(str(asked.gone), 300)
        return f"The judge failed, so verdicts are missing; the same command asks for them: {why}"
    if recorded.failure and not recorded.heard:
        return f"The judge gave no verdict; the same command asks it again: {shorten(str(recorded.failure), 300)}"
    return ""


def _first(several: BaseExceptionGroup) -> BaseException:
    """The first error of a group, however deep it lies."""
    error = several.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _decided(evaluation: Evaluation, pairs: Pairs, judge: Model | None, progress: Progress) -> Decided:
    """The pairs with their verdicts. If nobody decides them, they go out as files."""
    if evaluation.ratings:
        return by_ratings(pairs, evaluation.out, evaluation.ratings)
    if judge:
        return await by_judge(pairs, judge, progress)
    lines, folder = send_out(pairs, evaluation.out, evaluation.setups[0].sampling.seed, evaluation.once)
    if lines:
        progress.say(f"{counted(lines, 'blind pair')} to rate: {folder}; read the ratings back with --ratings FILE")
    return Decided([[Judged(pair=pair) for pair in pairing.pairs] for _, pairing in pairs], sent=sent(evaluation.out))


def _own_judges(judge: Model | None, raters: Sequence[str], model: tuple[str, str]) -> list[str]:
    """A warning for each judge or rater that is the model under test, by its weights or by its name."""
    digests = dict.fromkeys(raters, "") | ({judge.name: judge.digest} if judge else {})
    return [
        f"The judge {name} {like} the model under test. Models favour their own answers."
        for name, digest in digests.items()
        if (like := likeness(name, digest, *model))
    ]


def _about_ratings(decided: Decided) -> list[str]:
    """What of the ratings can't be used, and the pairs that nobody has got to rate."""
    warnings = [f"The ratings: {fault}." for fault in decided.faults[:LISTED]]
    if more := len(decided.faults) - LISTED:
        warnings += [f"The ratings: {counted(more, 'more line')} can't be used."] if more > 0 else []
    if unsent := decided.unsent():
        warnings.append(
            f"{counted(unsent, 'pair')} did not go out for rating and are missing; the same command without --ratings "
            "and --judge sends them out."
        )
    return warnings


def _compared(pairs: Pairs, decided: Decided) -> tuple[tuple[Versus, ...], tuple[Rated, ...], list[str]]:
    """The comparisons, corrected for being many; the ratings; and warnings about both."""
    if not decided.raters:
        return (), (), []
    groups: dict[str, list[tuple[Pairing, list[Judged]]]] = {}
    for (benchmark, pairing), judged in zip(pairs, decided.judged, strict=True):
        groups.setdefault(benchmark, []).append((pairing, judged))
    found = {benchmark: results(group, decided.raters) for benchmark, group in groups.items()}
    comparisons = [(benchmark, each) for benchmark, result in found.items() for each in result.comparisons]
    corrected = holm([each.wins.p for _, each in comparisons])
    versus = tuple(
        Versus(benchmark=benchmark, comparison=each, p_corrected=p)
        for (benchmark, each), p in zip(comparisons, corrected, strict=True)
    )
    ratings = tuple(
        Rated(benchmark=benchmark, ratings=result.ratings, why=result.no_ratings)
        for benchmark, result in found.items()
        if result.ratings or result.no_ratings
    )
    warnings = [f"{benchmark}: {warning}" for benchmark, result in found.items() for warning in result.warnings]
    return versus, ratings, warnings


def _settings(setups: Sequence[Setup]) -> dict[str, dict[str, object]]:
    own = {setup.method.name: setup.settings.model_dump(mode="json") for setup in setups}
    return {"sampling": setups[0].sampling.model_dump(mode="json"), **own}


def _asked(evaluation: Evaluation, benchmark: str) -> Asked:
    read, items = evaluation.read[benchmark], evaluation.questions[benchmark]
    harmful = sum(item.wanted == "refuse" for item in items)
    faults = [f"{fault.place}: {fault.reason}" for fault in read.faults]
    if len(faults) > LISTED:
        faults[LISTED:] = [f"{benchmark}: {len(faults) - LISTED:,} more rows"]
    return Asked(
        benchmark=benchmark,
        source=evaluation.sources[benchmark],
        rows=read.rows,
        questions=len(read.items),
        unusable=len(read.faults),
        repeated=read.repeated,
        harmful=harmful,
        harmless=len(items) - harmful,
        faults=tuple(faults),
    )


def _write_scores(path: Path, scores: AllScores) -> None:
    """One line a question of a cell: all its scores, with the judge's reasons."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        for (benchmark, method), group in scores.items():
            for id, each in group.items():
                line = {"benchmark": benchmark, "method": method, "question": id, **each.model_dump(mode="json")}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    part.replace(path)
