"""The loop: generate, export, tune, measure, and again from the tuned model, as long as that makes nothing worse.

Owns the order of the rounds, their folders, and when to stop. Each stage is the command of that name and goes on where
it was stopped, so the whole does. Knows no weights and no scene.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.console import Console

from . import provenance as recipe
from .data.export import export
from .data.sources import BadRow, Category, SourceRow, questions_from
from .errors import InputError, Unreachable
from .evals import measure as measuring
from .evals.measure import Measured
from .evals.preference import load
from .generate.batch import showing
from .generate.run import Run
from .generate.schedule import generate
from .llm.endpoint import Endpoint
from .llm.open import key, opened
from .llm.pool import Server, Tally
from .store import Store
from .tuning import base as bases
from .tuning import config, llamacpp
from .tuning.card import note_measured
from .tuning.train import HISTORY
from .types import Question, Settings

NOTE = "How these rounds are made. `matrix-align iterate` with the same options goes on with them."
HELD_OUT, PLAYED, DATA = "held-out.jsonl", "questions.jsonl", "data/sft.jsonl"
STARTS = 900.0  # seconds that a server may take to load a model
GOES = 30.0  # and to end
GAINS = ("preference accuracy", "refuses harmful questions", "scenes that end well", "scenes whose rulings vary")
LOSSES = ("refuses benign questions",)
KEPT = (*GAINS, measuring.LONG_ENOUGH)  # a model that has come to say little is worse; one that says more is not better


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
    questions = _begin(loop, base)
    measured: dict[str, Measured] = {}
    best, kept = "base", base
    for number in range(loop.rounds + 1):
        name = f"round {number}" if number else "base"
        folder = loop.out / name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        if number:
            if not (folder / DATA).exists():
                console.print(f"{name}: scenes", markup=False)
                asyncio.run(_generate(loop, base, folder))
            if not (folder / "tuned" / HISTORY).exists():
                console.print(f"{name}: tuning", markup=False)
            base = _tune(loop, base, folder)
        if not (folder / measuring.FILE).exists():
            console.print(f"{name}: measuring", markup=False)
        measured[name] = _measure(loop, base, folder, questions)
        if number:
            before = {"the loop's base": measured["base"], name: measured[name]}
            note_measured(folder / "tuned", measuring.table(before))
        if why := worse(measured):
            console.print(f"{name} made things worse: {'; '.join(why)}", markup=False, soft_wrap=True)
        else:
            best, kept = name, base
        report(measured, best, kept, loop.out)
        if why:
            break
    return measured


def _begin(loop: Loop, base: bases.Base) -> dict[str, list[Question]]:
    """Checks all that is asked before anything is played, and notes it in the folder; the held-out questions."""
    if loop.serve:
        _words(loop.serve)
    tokenizer = bases.tokenizer(base)
    with bases.quiet():
        settings = config.resolved("sft", loop.config)
        lora = config.made("lora", {**settings["lora"], "task_type": "CAUSAL_LM"})
        config.made("sft", {**settings["sft"], "output_dir": str(loop.out), "use_cpu": True, "bf16": False})
    if base.gguf:
        llamacpp.check(base.gguf, lora)
    digest = ""
    if loop.preference:
        for line in load(loop.preference, tokenizer).told():
            Console(stderr=True).print(line, markup=False, soft_wrap=True)
        digest = hashlib.sha256(loop.preference.read_bytes()).hexdigest()
    mine: recipe.Tables = {
        "iterate": {
            "sources": list(loop.sources),
            "category": loop.category,
            "limit": loop.limit or 0,
            "held_out": loop.held_out,
            "mix": loop.mix,
            "scenes": loop.scenes,
            "preference": digest,
        },
        "base": {"name": base.name, "digest": base.digest},
        "settings": loop.settings.model_dump(),
        **settings,
    }
    empty = not any(loop.out.glob("*/record.db"))  # nothing was asked yet
    recipe.settle(loop.out / "iterate.toml", mine, NOTE, "loop", empty)
    if empty:
        _split(loop)
    found: dict[str, list[Question]] = {}
    for row in questions_from(str(loop.out / HELD_OUT)):
        if isinstance(row, SourceRow):
            kind = {"helpful": "benign", "harmful": "harmful"}.get(row.category, "uncategorised")
            found.setdefault(kind, []).append(row.question)
    return found


def _split(loop: Loop) -> None:
    """Writes the questions to play and those held out as sources of their own."""
    rows = [row for source in loop.sources for row in questions_from(source, category=cast(Category, loop.category))]
    for fault in [row for row in rows if isinstance(row, BadRow)]:
        Console(stderr=True).print(f"{fault.place}: {fault.reason}", markup=False, soft_wrap=True)
    good = list({row.question: row for row in rows if isinstance(row, SourceRow)}.values())[: loop.limit]
    drawn: set[str] = set()
    for kind in dict.fromkeys(row.category for row in good):
        # By how they begin, so that no dialogue has turns on both sides.
        openings = {row.question.opening() for row in good if row.category == kind}
        count = round(loop.held_out * len(openings))
        if not 0 < count < len(openings):
            which = f"{kind} questions".strip()
            raise InputError(
                f"{count} of {len(openings)} {which} would be held out; wanted some of each: see --held-out"
            )
        drawn.update(sorted(openings, key=lambda each: hashlib.sha256(each.encode()).digest())[:count])
    held, played = list[SourceRow](), list[SourceRow]()
    for row in good:
        (held if row.question.opening() in drawn else played).append(row)
    there = {row.category for row in played} | {"simulation"}
    if missing := [kind for kind, part in loop.mix.items() if part and kind not in there]:
        raise InputError(
            f"--mix wants {missing[0]} rows, and no question that is played is {missing[0]}: see --category"
        )
    _write(loop.out / HELD_OUT, held)
    _write(loop.out / PLAYED, played)


def _write(path: Path, rows: list[SourceRow]) -> None:
    half = path.with_suffix(".part")
    with open(half, "w", encoding="utf-8") as file:
        for row in rows:
            turns = [message.model_dump() for message in row.question.messages()]
            print(json.dumps({"messages": turns, "category": row.category}, ensure_ascii=False), file=file)
    half.replace(path)


async def _generate(loop: Loop, base: bases.Base, folder: Path) -> None:
    async with _served(loop, base) as model:
        with Run(folder / "run", loop.settings, model.name, model.digest or base.digest) as run:
            run.take(questions_from(str(loop.out / PLAYED)))
            counts = run.counts()
            tally = Tally(total=counts.get("waiting", 0) + counts.get("again", 0))
            async with showing(tally, Console(stderr=True, highlight=False)):
                await generate(run, [Server(model, tally)], tally)


def _tune(loop: Loop, base: bases.Base, folder: Path) -> bases.Base:
    """The round's tuned model, to go on from."""
    data = folder / DATA
    if not data.exists():
        with Run.there(folder / "run") as run:
            export(run, data, "sft", loop.mix, 0.0, loop.settings.seed)
    tuned = folder / "tuned"
    options = ["--base", _weights(base), "--out", str(tuned), "--seed", str(loop.settings.seed)]
    options += ["--gguf"] if base.gguf else ["--merge"]
    _command("tune", str(data), *options, *(["--config", str(loop.config)] if loop.config else []))
    return bases.named(str(tuned / "merged.gguf" if base.gguf else tuned / "merged"))


def _weights(base: bases.Base) -> str:
    return str(base.gguf or base.where)


def _command(*words: str) -> None:
    """A command of ours in a process of its own: the memory that it holds, on a GPU too, goes with it."""
    done = subprocess.run(
        [sys.executable, "-m", "matrix_align", *words],
        stdout=subprocess.DEVNULL,
        preexec_fn=_with_us if sys.platform == "linux" else None,
    )
    if done.returncode:
        raise InputError(f"`matrix-align {words[0]}` ended with status {done.returncode}; what it said stands above")


def _measure(loop: Loop, base: bases.Base, folder: Path, questions: dict[str, list[Question]]) -> Measured:
    if (folder / measuring.FILE).exists():
        return measuring.load(folder)
    measured = asyncio.run(_asked(loop, base, folder, questions))
    if loop.preference:
        there = folder / "preference"
        _command("measure", "--preference", str(loop.preference), "--base", _weights(base), "--out", str(there))
        measured = measured.model_copy(update={"preferred": measuring.load(there).preferred})
    measuring.save(measured, folder)
    return measured


async def _asked(loop: Loop, base: bases.Base, folder: Path, questions: dict[str, list[Question]]) -> Measured:
    async with _served(loop, base) as model:
        with Store(folder / "record.db") as store:
            measured = await measuring.measure(model, questions, loop.settings, loop.scenes, store)
    for line in measuring.unasked(measured):
        Console(stderr=True).print(line, markup=False, soft_wrap=True)
    return measured


def worse(measured: dict[str, Measured]) -> list[str]:
    """What the newest round has made worse than the round before or, round by round a little, than the base.

    So much worse as chance alone has it in at most one round of twenty, all comparisons together (Bonferroni).
    """
    *earlier, newest = measured
    others = dict.fromkeys([*earlier[-1:], *earlier[:1]])
    return [
        f"{change} since {name}"
        for name in others
        for change in _moved(measured[name], measured[newest], LOSSES, KEPT, len(others))
    ]


def better(measured: dict[str, Measured], best: str) -> list[str]:
    """What that round does better than the base, by the same rule."""
    return _moved(measured["base"], measured[best], GAINS, LOSSES, 1)


def _moved(before: Measured, after: Measured, up: Sequence[str], down: Sequence[str], comparisons: int) -> list[str]:
    """Which of the measures `up` have risen, and which of those `down` fallen, beyond chance."""
    watched = {*up, *down} & measuring.signs(after).keys()
    confidence = 1 - 2 * 0.05 / max(1, len(watched) * comparisons)  # one side of an interval is looked at
    changed = measuring.changes(before, after, confidence)
    found = [name for name in up if name in changed and changed[name].low > 0]
    found += [name for name in down if name in changed and changed[name].high < 0]
    return [f"{name} {changed[name].part * 100:+.0f} points" for name in found]


def report(measured: dict[str, Measured], best: str, kept: bases.Base, out: Path) -> None:
    """results.md and results.png: one table, one plot, of all rounds so far, and which model they leave one with."""
    told = f"The model to keep: {kept.gguf or kept.where} ({best})."
    if best != "base":
        told += f" Better than the base, beyond chance: {'; '.join(better(measured, best)) or 'nothing'}."
    (out / "results.md").write_text(f"{measuring.table(measured)}\n\n{told}\n", encoding="utf-8")
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(8, 4.5), dpi=100)
    axes = figure.subplots()
    shares = [measuring.shares(each) for each in measured.values()]
    names = list(dict.fromkeys(name for each in shares for name in each))
    for number, name in enumerate(names):
        points = [(place, each[name]) for place, each in enumerate(shares) if name in each]
        places = [place + 0.06 * (number - (len(names) - 1) / 2) for place, _ in points]  # beside each other
        spread = [[p.part - p.low for _, p in points], [p.high - p.part for _, p in points]]
        axes.errorbar(places, [p.part for _, p in points], yerr=spread, label=name, capsize=3, marker="o", markersize=4)
    axes.set_xticks(range(len(shares)), list(measured))
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("share, with 95 % interval")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)
    figure.tight_layout()
    figure.savefig(out / "results.png")


@asynccontextmanager
async def _served(loop: Loop, base: bases.Base) -> AsyncIterator[Endpoint]:
    """The base, served here, or by the command that was given for it until the block ends."""
    async with AsyncExitStack() as stack:
        if not (loop.endpoint and loop.serve):
            yield await stack.enter_async_context(opened(None, str(base.gguf)))
            return
        command = [part.replace("{model}", _weights(base)) for part in _words(loop.serve)]
        endpoint = await stack.enter_async_context(
            Endpoint(loop.endpoint, _weights(base), key=key(), digest=base.digest)
        )
        until = time.monotonic() + GOES
        while await endpoint.answers() is not False:  # one of ours, which a kill has left to end by itself?
            if time.monotonic() > until:
                raise InputError(f"something answers at {loop.endpoint}; stop it, --serve starts a server there")
            await asyncio.sleep(1)
        process = _start(command)
        try:
            await _up(endpoint, process)
            yield endpoint
        finally:
            _stop(process)


def _words(serve: str) -> list[str]:
    """The command of --serve, split as a shell would. Raises InputError."""
    try:
        words = shlex.split(serve, posix=sys.platform != "win32")
    except ValueError as error:
        raise InputError(f"--serve {serve}: {error}") from None
    if not words:
        raise InputError("--serve is empty; wanted a command, as 'vllm serve {model} --port 8000'")
    return words


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    with_us = _with_us if sys.platform == "linux" else None
    try:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=with_us, start_new_session=True)
    except OSError as error:
        raise InputError(f"--serve can't run {command[0]}: {error.strerror}") from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a server and what it has started, which may take its time to go, but not for ever."""
    for sent, patience in ((signal.SIGTERM, 30), (signal.SIGKILL, 30)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def _with_us() -> None:
    """On Linux a server ends with the process that started it, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


async def _up(endpoint: Endpoint, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + STARTS
    while (there := await endpoint.answers()) is not True:
        if process.poll() is not None:
            raise InputError(f"the command of --serve ended with status {process.returncode} before it answered")
        if there is None or time.monotonic() > until:
            why = "refuses a chat" if there is None else f"does not answer {STARTS:g} s after --serve was started"
            raise Unreachable(f"{endpoint.url} {why}: is --endpoint where it serves {{model}} under that name?")
        await asyncio.sleep(1)
