"""The loop: generate, export, tune, measure, and again from the tuned model, as long as that makes nothing worse.

Owns the order of the rounds, their folders, and when to stop. Each stage is the command of that name and goes on where
it was stopped, so the whole does. Knows no weights and no scene.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import json
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from . import measure as measuring
from . import recipe
from .batch import showing
from .endpoint import Endpoint
from .errors import InputError, Unreachable
from .export import export
from .generate import generate
from .measure import Measured
from .models import key, opened
from .run import Run
from .servers import Server, Tally
from .sources import Fault, Row, read
from .store import Store
from .tuning import base as bases
from .tuning.preference import margins, pairs
from .tuning.train import HISTORY, Tuning, tune
from .types import Question, Settings

NOTE = "How these rounds are made. `matrix-align iterate` with the same options goes on with them."
STARTS = 900.0  # seconds that a server may take to load a model
GAINS = ("preference accuracy", "refuses harmful questions", "scenes that end well", "scenes whose rulings vary")
LOSSES = ("refuses benign questions",)


@dataclass(frozen=True)
class Loop:
    """What `iterate` was asked to do. `serve` is the command that serves a folder of weights at `endpoint`."""

    sources: tuple[str, ...]
    category: str
    out: Path
    rounds: int
    base: str
    settings: Settings
    mix: dict[str, float]
    config: Path | None
    held_out: float
    scenes: int
    preference: Path | None
    endpoint: str | None
    serve: str | None
    limit: int | None


def iterate(loop: Loop) -> dict[str, Measured]:
    """All rounds, or those until one made things worse; the measurement of the base and of each round by name."""
    console = Console(stderr=True, highlight=False)
    base = bases.named(loop.base)
    if not base.gguf and not (loop.endpoint and loop.serve):
        raise InputError(f"{base.name} is no GGUF and can't be served here; give --endpoint URL and --serve COMMAND")
    _settle(loop, base)
    questions = _split(loop)
    measured: dict[str, Measured] = {}
    kept = base
    for number in range(loop.rounds + 1):
        name = f"round {number}" if number else "base"
        folder = loop.out / name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        if number:
            if not (folder / "tuned" / HISTORY).exists():
                console.print(f"{name}: scenes", markup=False)
                asyncio.run(_generate(loop, base, folder))
                console.print(f"{name}: tuning", markup=False)
            base = _tune(loop, base, folder)
        console.print(f"{name}: measuring", markup=False)
        measured[name] = _measure(loop, base, folder, questions)
        if why := worse(measured):
            console.print(f"{name} made things worse: {'; '.join(why)}", markup=False, soft_wrap=True)
        else:
            kept = base
        report(measured, kept, loop.out)
        if why:
            break
    return measured


def _settle(loop: Loop, base: bases.Base) -> None:
    config = loop.config.read_text(encoding="utf-8") if loop.config else ""
    mix = ",".join(f"{kind}={share:g}" for kind, share in loop.mix.items())
    chosen = {"category": loop.category, "held_out": loop.held_out, "scenes": loop.scenes, "limit": loop.limit or 0}
    chosen["preference"] = str(loop.preference or "")
    mine: recipe.Tables = {
        "iterate": {**chosen, "mix": mix, "config": config},
        "base": {"name": base.name, "digest": base.digest},
        "settings": loop.settings.model_dump(),
    }
    recipe.settle(loop.out / "iterate.toml", mine, NOTE, "loop")


def _split(loop: Loop) -> dict[str, list[Question]]:
    """Writes the questions to play as a source of their own, once; the held-out ones by category."""
    train, test = loop.out / "questions.jsonl", loop.out / "held-out.jsonl"
    if not (train.exists() and test.exists()):
        rows = [row for source in loop.sources for row in read(source, category=loop.category)]  # type: ignore[arg-type]
        good = list({row.question: row for row in rows if isinstance(row, Row)}.values())[: loop.limit]
        for fault in [row for row in rows if isinstance(row, Fault)]:
            Console(stderr=True).print(f"{fault.place}: {fault.reason}", markup=False, soft_wrap=True)
        drawn = {row.place: hashlib.sha256(row.question.text.encode()).digest()[0] / 256 for row in good}
        held = [row for row in good if drawn[row.place] < loop.held_out]
        if not held or len(held) == len(good):
            raise InputError(f"{len(held)} of {len(good)} questions are held out; wanted some of each: see --held-out")
        _write(test, held)
        _write(train, [row for row in good if drawn[row.place] >= loop.held_out])
    found: dict[str, list[Question]] = {}
    for row in read(str(test)):
        if isinstance(row, Row):
            found.setdefault(row.category or "uncategorised", []).append(row.question)
    return found


def _write(path: Path, rows: list[Row]) -> None:
    half = path.with_suffix(".part")
    with open(half, "w", encoding="utf-8") as file:
        for row in rows:
            turns = [message.model_dump() for message in row.question.messages()]
            print(json.dumps({"messages": turns, "category": row.category}, ensure_ascii=False), file=file)
    half.replace(path)


async def _generate(loop: Loop, base: bases.Base, folder: Path) -> None:
    async with _served(loop, base) as model:
        with Run(folder / "run", loop.settings, model.name, model.digest or base.digest) as run:
            run.take(read(str(loop.out / "questions.jsonl")))
            counts = run.counts()
            tally = Tally(total=counts.get("waiting", 0) + counts.get("again", 0))
            async with showing(tally, Console(stderr=True, highlight=False)):
                await generate(run, [Server(model, tally)], tally)


def _tune(loop: Loop, base: bases.Base, folder: Path) -> bases.Base:
    """The round's tuned model, to go on from."""
    data = folder / "data" / "sft.jsonl"
    if not data.exists():
        with Run.there(folder / "run") as run:
            export(run, data, "sft", loop.mix, 0.0, loop.settings.seed)
    whole = base.where if not base.gguf else str(base.gguf)
    tuned, is_gguf = folder / "tuned", bool(base.gguf)
    tune(Tuning(data, whole, tuned, config=loop.config, seed=loop.settings.seed, merge=not is_gguf, gguf=is_gguf))
    return bases.named(str(tuned / "merged.gguf" if base.gguf else tuned / "merged"))


def _measure(loop: Loop, base: bases.Base, folder: Path, questions: dict[str, list[Question]]) -> Measured:
    if (folder / measuring.FILE).exists():
        return measuring.load(folder)
    measured = asyncio.run(_asked(loop, base, folder, questions))
    if loop.preference:
        told = margins(base, None, pairs(loop.preference)[0])
        measured = measured.model_copy(update={"preferred": measuring.preferred(told)})
    measuring.save(measured, folder)
    return measured


async def _asked(loop: Loop, base: bases.Base, folder: Path, questions: dict[str, list[Question]]) -> Measured:
    async with _served(loop, base) as model:
        with Store(folder / "record.db") as store:
            return await measuring.measure(model, questions, loop.settings, loop.scenes, store)


def worse(measured: dict[str, Measured]) -> list[str]:
    """What the newest round has made worse than the one before, beyond the 95 % interval of the difference."""
    if len(measured) < 2:
        return []
    before, after = list(measured.values())[-2:]
    changed = measuring.changes(before, after)
    fell = [f"{name} {changed[name].part:+.0%}" for name in GAINS if name in changed and changed[name].high < 0]
    rose = [f"{name} {changed[name].part:+.0%}" for name in LOSSES if name in changed and changed[name].low > 0]
    return fell + rose


def report(measured: dict[str, Measured], kept: bases.Base, out: Path) -> None:
    """results.md and results.png: one table, one plot, of all rounds so far, and which model they leave one with."""
    best = kept.gguf or kept.where
    (out / "results.md").write_text(f"{measuring.table(measured)}\n\nThe model to keep: {best}\n", encoding="utf-8")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=100)
    axes = figure.subplots()
    told = [measuring.shares(each) for each in measured.values()]
    places = range(len(told))
    for name in dict.fromkeys(name for each in told for name in each):
        points = [(place, each[name]) for place, each in zip(places, told, strict=True) if name in each]
        spread = [[p.part - p.low for _, p in points], [p.high - p.part for _, p in points]]
        axes.errorbar([place for place, _ in points], [p.part for _, p in points], yerr=spread, label=name, capsize=3)
    axes.set_xticks(list(places), list(measured))
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.tight_layout()
    figure.savefig(out / "results.png")


@asynccontextmanager
async def _served(loop: Loop, base: bases.Base) -> AsyncIterator[Endpoint]:
    """The base, served here, or by the command that was given for it until the block ends."""
    async with AsyncExitStack() as stack:
        if not (loop.endpoint and loop.serve):
            yield await stack.enter_async_context(opened(None, str(base.gguf)))
            return
        command = [part.replace("{model}", base.where) for part in shlex.split(loop.serve)]
        endpoint = await stack.enter_async_context(Endpoint(loop.endpoint, base.where, key=key(), digest=base.digest))
        if await endpoint.answers() is not False:
            raise InputError(f"something answers at {loop.endpoint} already; stop it, --serve starts a server there")
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, preexec_fn=_with_us if sys.platform == "linux" else None
        )
        try:
            await _up(endpoint, process)
            yield endpoint
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


def _with_us() -> None:
    """On Linux a server ends with the process that started it, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


async def _up(endpoint: Endpoint, process: asyncio.subprocess.Process) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + STARTS
    while await endpoint.answers() is not True:
        if process.returncode is not None:
            raise InputError(f"the command of --serve ended with status {process.returncode} before it answered")
        if loop.time() > until:
            raise Unreachable(f"{endpoint.url} does not answer {STARTS:g} s after --serve was started")
        await asyncio.sleep(1)
