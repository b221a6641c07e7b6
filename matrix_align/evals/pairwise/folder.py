"""A comparison in its folder: what identifies it, what is kept of it, and how it goes on after a stop.

The folder holds `judge.db` (every verdict that was paid for) or `key.jsonl` (the key of a blind file), `judged.jsonl`
(every pair with what was said of it), `comparison.json` and `comparison.md`. All but the first two are written anew
each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ... import provenance
from ...errors import InputError
from ...generate.run import Run
from ...llm.open import open_model
from ...llm.recorded import Recorded
from ...store import Store, holds_calls
from ...types import shorten
from .blind import rated, read_key, read_ratings, strangers, write_pairs
from .compare import results
from .judge import Judging, own_judge
from .outcomes import outcome
from .pairs import contestants, pairings
from .prompts import PROMPTS
from .report import markdown
from .results import Results
from .types import Contestant, Judged, Pairing

DESCRIBED = "compare.toml"
KEY, JUDGE, RESULT = "key.jsonl", "judge.db", "comparison.json"


@dataclass(frozen=True)
class Compared:
    """What to compare: runs of `generate`, every one with the first, or all with one another."""

    runs: Sequence[Path]
    all_pairs: bool = False
    seed: int = 0


def compare_by_judge(
    out: Path, compared: Compared, endpoint: str | None, model: str | None, digest: str | None
) -> tuple[Results, str]:
    """The results by a judge, and what was wrong with it: it failed before the end, or decided no pair. Else empty.

    `llm.open.open_model` takes the fields that name the judge. Verdicts that are in the folder already are not asked
    for again. Raises InputError, and ModelError if the judge can't be reached at all.
    """
    with provenance.locked(out, DESCRIBED):
        runs = contestants(compared.runs)
        return asyncio.run(_ask(out, compared, runs, endpoint, model, digest))


async def _ask(
    out: Path,
    compared: Compared,
    runs: Sequence[Contestant],
    endpoint: str | None,
    model: str | None,
    digest: str | None,
) -> tuple[Results, str]:
    couples = pairings(runs, compared.all_pairs)
    async with open_model(endpoint, model, digest=digest, digest_by="--judge-digest") as judge:
        by = {"by": "a model", "name": judge.name, "digest": judge.digest, "prompts": PROMPTS.digest}
        _settle(out, compared, runs, by)
        with Store(out / JUDGE) as store:
            asking = Judging(Recorded(judge, store))
            said = await _judged(asking, couples)
        warnings = own_judge(judge.name, judge.digest, runs)
    trouble = _trouble(asking, said)
    found = _keep(out, couples, said, [judge.name], [*warnings, *filter(None, [trouble])], compared.seed)
    return found, trouble


def _trouble(asking: Judging, said: Sequence[Sequence[Judged]]) -> str:
    if asking.trouble:
        return f"the judge failed, so verdicts are missing; the same command asks for them: {asking.trouble}"
    asked = [each for group in said for each in group if not each.pair.identical]
    faults = [each.fault for judged in asked for each in judged.judgements if each.fault]
    if faults and not any(map(outcome, asked)):
        return f"the judge decided no pair; the same command asks it again: {shorten(faults[0], 300)}"
    return ""


async def _judged(asking: Judging, couples: Sequence[Pairing]) -> list[list[Judged]]:
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("pairs", total=sum(len(couple.pairs) for couple in couples))
        return [await asking.judged(couple.pairs, lambda: progress.advance(bar)) for couple in couples]


def send_out(out: Path, compared: Compared, folder: Path, once: bool) -> tuple[int, list[Pairing]]:
    """Writes the blind file to `folder` and its key to `out`. Returns the number of lines, and the pairings."""
    if folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise InputError(f"--out {out} would lie in {folder}, which the rater gets; it keeps the key, so give another")
    provenance.refuse_others(folder)
    with provenance.locked(out, DESCRIBED):
        runs = contestants(compared.runs)
        _settle(out, compared, runs, {"by": "ratings"})
        couples = pairings(runs, compared.all_pairs)
        return write_pairs(couples, folder, out / KEY, once, compared.seed), couples


def compare_by_ratings(
    out: Path, compared: Compared, files: Sequence[Path], key: Path | None
) -> tuple[Results, list[str]]:
    """The results by rating files, and what in these could not be used, by file and line."""
    with provenance.locked(out, DESCRIBED):
        runs = contestants(compared.runs)
        entries = read_key(key or out / KEY)
        _settle(out, compared, runs, {"by": "ratings"})
        couples = pairings(runs, compared.all_pairs)
        ratings = read_ratings(files, entries)
        warnings = [warning for rater in ratings.raters for warning in own_judge(rater, "", runs)]
        if unknown := strangers(couples, entries):
            warnings.append(f"{unknown} lines of the key show pairs that these runs don't have, or have no longer")
        found = _keep(out, couples, rated(couples, entries, ratings), ratings.raters, warnings, compared.seed)
        return found, ratings.faults


def _settle(out: Path, compared: Compared, runs: Sequence[Contestant], by: dict[str, str]) -> None:
    """Notes what identifies the comparison, or compares it with the note: the runs, and who judges."""
    made = [hashlib.sha256(made_with(folder).encode()).hexdigest()[:16] for folder in compared.runs]
    mine: provenance.Tables = {"compare": {"runs": [run.name for run in runs], "made": made}, "judge": dict(by)}
    begun = holds_calls(out / JUDGE) or any((out / name).exists() for name in (KEY, RESULT))
    provenance.settle(out / DESCRIBED, mine, "What is compared here.", "comparison", not begun)


def made_with(folder: Path) -> str:
    """What decides the answers of a run, apart from its questions and from where its weights were fetched."""
    tables = {name: dict(fields) for name, fields in Run.described(folder).items()}
    tables.get("model", {}).pop("source", None)
    return json.dumps(tables, sort_keys=True)


def _keep(
    out: Path,
    couples: Sequence[Pairing],
    said: Sequence[Sequence[Judged]],
    judges: Sequence[str],
    warnings: Sequence[str],
    seed: int,
) -> Results:
    found = results(list(zip(couples, said, strict=True)), judges, warnings, seed)
    lines = [
        {"candidate": couple.candidate.name, "baseline": couple.baseline.name, "outcome": outcome(each) or "missing"}
        | each.model_dump(mode="json")
        for couple, group in zip(couples, said, strict=True)
        for each in group
    ]
    _write(out / "judged.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    _write(out / "comparison.md", markdown(found) + "\n")
    _write(out / RESULT, found.model_dump_json(indent=1) + "\n")
    return found


def _write(path: Path, text: str) -> None:
    """Writes the file so that it is whole or as it was."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror}") from None
