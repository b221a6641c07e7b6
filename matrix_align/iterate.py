"""The loop: generate, export, tune, measure, then again from the tuned model, until a round makes something worse.

Owns the order of the rounds, their folders, and when to stop. Each stage continues where it was stopped, as the command
of the same name does, so the whole loop does too. Knows no weights and no scene.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from . import provenance
from .data.export import export
from .data.sources import Category, questions_from
from .data.split import digest_of, gathered, split, write_source
from .errors import InputError
from .evals import report
from .evals.answers import measure
from .evals.measurement import FILE, Measurement, read_measurement, write_measurement
from .evals.plot import plot
from .evals.preference import read_pairs
from .evals.rounds import worse
from .generate.progress import showing, summarise
from .generate.run import Run
from .generate.schedule import generate
from .llm.endpoint import Endpoint
from .llm.launched import launched, serving, words_of
from .llm.open import key, open_model
from .llm.pool import Server, Tally
from .methods import Setup
from .store import Store
from .tuning import base as bases
from .tuning import config, llamacpp
from .tuning.checkpoints import HISTORY
from .tuning.examples import limit_of
from .tuning.model_card import note_measured
from .tuning.quiet import quiet
from .types import Question

NOTE = "How these rounds are made. `matrix-align iterate` with the same options continues them."
DESCRIBED = "iterate.toml"
HELD_OUT, PLAYED, DATA = "held-out.jsonl", "questions.jsonl", "data/sft.jsonl"
MEASURED_AS = {"helpful": "benign", "harmful": "harmful", "": "uncategorised"}


@dataclass(frozen=True)
class Loop:
    """What `iterate` was asked to do. `serve` is the command that serves a folder of weights at `endpoint`."""

    sources: tuple[str, ...]
    category: Category
    out: Path
    rounds: int
    base: str
    setup: Setup
    mix: dict[str, float]
    config: Path | None
    held_out: float
    scenes: int
    preference: Path | None
    endpoint: str | None
    serve: str | None
    limit: int | None


def iterate(loop: Loop) -> dict[str, Measurement]:
    """Runs all rounds, or stops after one that made things worse.

    Returns the measurements of the base and of each round, by name. Raises InputError for options that can't be
    followed, before the first scene where possible.
    """
    base = bases.named(loop.base)
    _check(loop, base)
    with provenance.locked(loop.out, DESCRIBED):
        return _rounds(loop, base)


def _rounds(loop: Loop, base: bases.Base) -> dict[str, Measurement]:
    questions = _settle(loop, base)
    measurements: dict[str, Measurement] = {}
    best, kept = "base", base
    for number in range(loop.rounds + 1):
        name = f"round {number}" if number else "base"
        folder = loop.out / name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        if number:
            if not (folder / DATA).exists():
                _say(f"{name}: scenes")
                asyncio.run(_generate(loop, base, folder))
            if not (folder / "tuned" / HISTORY).exists():
                _say(f"{name}: tuning")
            base = _tune(loop, base, folder)
        if not (folder / FILE).exists():
            _say(f"{name}: measuring")
        measurements[name] = _measure(loop, base, folder, questions)
        if number:
            both = {"the loop's base": measurements["base"], name: measurements[name]}
            note_measured(folder / "tuned", report.table(both))
        losses = worse(measurements)
        if losses:
            _say(f"{name} made things worse: {'; '.join(losses)}")
        else:
            best, kept = name, base
        text = report.results(measurements, best, _weights(kept))
        (loop.out / "results.md").write_text(text, encoding="utf-8")
        plot(measurements, loop.out / "results.png")
        if losses:
            break
    return measurements


def _say(line: str) -> None:
    Console(stderr=True, highlight=False).print(line, markup=False, soft_wrap=True)


def _check(loop: Loop, base: bases.Base) -> None:
    """Raises InputError now for what a later stage would reject: the server's command, the settings, the base."""
    if loop.serve:
        words_of(loop.serve)
    elif not base.gguf:
        raise InputError(f"{base.name} is no GGUF and can't be served here; give --endpoint URL and --serve COMMAND")
    tokenizer = bases.tokenizer(base)
    with quiet():
        settings = config.resolved("sft", loop.config)
        lora = config.made("lora", {**settings["lora"], "task_type": "CAUSAL_LM"})
        config.made("sft", {**settings["sft"], "output_dir": str(loop.out), "use_cpu": True, "bf16": False})
    if base.gguf:
        llamacpp.check(base.gguf, lora)
    if loop.preference:
        for line in read_pairs(loop.preference, tokenizer).told():
            _say(line)


def _settle(loop: Loop, base: bases.Base) -> dict[str, list[Question]]:
    """Splits the questions, and notes how the rounds are made, or compares that with the note in the folder.

    Returns the held-out questions by the category they are measured as.
    """
    rows, faults = gathered(loop.sources, loop.category, loop.limit)
    for fault in faults:
        _say(f"{fault.place}: {fault.reason}")
    if not rows:
        raise InputError(f"{', '.join(loop.sources)}: there is no question in it; give a SOURCE that has some")
    held, played = split(rows, loop.held_out)
    kinds = {row.category for row in played} | {"simulation"}
    if missing := [kind for kind, part in loop.mix.items() if part and kind not in kinds]:
        raise InputError(
            f"--mix wants {missing[0]} rows, but none of the questions to play is {missing[0]}; see --category"
        )
    mine: provenance.Tables = {
        "iterate": {
            "questions": digest_of(row.question for row in rows),
            "category": loop.category,
            "limit": loop.limit or 0,
            "held_out": loop.held_out,
            "mix": loop.mix,
            "scenes": loop.scenes,
            "preference": hashlib.sha256(loop.preference.read_bytes()).hexdigest() if loop.preference else "",
        },
        "base": {"name": base.name, "digest": base.identity},
        **loop.setup.tables(),
        **config.resolved("sft", loop.config),
    }
    nothing_asked = not any(loop.out.glob("*/record.db"))
    beside: provenance.Tables = {"base": {"source": base.source or None}}
    provenance.settle(loop.out / DESCRIBED, mine, NOTE, "loop", nothing_asked, beside)
    if nothing_asked:
        write_source(loop.out / HELD_OUT, held)
        write_source(loop.out / PLAYED, played)
    questions: dict[str, list[Question]] = {}
    for row in held:
        questions.setdefault(MEASURED_AS[row.category], []).append(row.question)
    return questions


async def _generate(loop: Loop, base: bases.Base, folder: Path) -> None:
    async with _served(loop, base) as model:
        with Run(folder / "run", loop.setup, model.name, model.digest or base.identity, base.source) as run:
            run.inputs.take([questions_from(str(loop.out / PLAYED))])
            counts = run.inputs.counts()
            tally = Tally(total=counts.get("waiting", 0) + counts.get("again", 0))
            console = Console(stderr=True, highlight=False)
            async with showing(tally, console):
                await generate(run, [Server(model, tally)], tally)
            summarise(console, run, run.inputs.counts(), tally)


def _tune(loop: Loop, base: bases.Base, folder: Path) -> bases.Base:
    """Tunes from the run in `folder`. Returns the tuned model, the base of the next round."""
    data = folder / DATA
    if not data.exists():
        with Run.there(folder / "run") as run:
            longest = config.resolved("sft", loop.config)["sft"].get("max_length")
            limit = limit_of(_weights(base), longest) if longest else None
            export(run, data, "sft", loop.mix, 0.0, loop.setup.sampling.seed, limit)
    tuned = folder / "tuned"
    options = ["--base", _weights(base), "--out", str(tuned), "--seed", str(loop.setup.sampling.seed)]
    options += ["--gguf"] if base.gguf else ["--merge"]
    _command("tune", str(data), *options, *(["--config", str(loop.config)] if loop.config else []))
    return bases.named(str(tuned / "merged.gguf" if base.gguf else tuned / "merged"))


def _measure(loop: Loop, base: bases.Base, folder: Path, questions: dict[str, list[Question]]) -> Measurement:
    if (folder / FILE).exists():
        return read_measurement(folder)
    measurement = asyncio.run(_ask(loop, base, folder, questions))
    for line in report.unanswered(measurement):
        _say(line)
    if loop.preference:
        pairs = folder / "preference"
        _command("measure", "--preference", str(loop.preference), "--base", _weights(base), "--out", str(pairs))
        measurement = measurement.model_copy(update={"preferred": read_measurement(pairs).preferred})
    write_measurement(measurement, folder)
    return measurement


async def _ask(loop: Loop, base: bases.Base, folder: Path, questions: dict[str, list[Question]]) -> Measurement:
    async with _served(loop, base) as model:
        with Store(folder / "record.db") as store:
            return await measure(model, questions, loop.setup, loop.scenes, store)


def _command(*words: str) -> None:
    """Runs a command of ours in a process of its own, so that its memory, also on a GPU, is freed when it ends."""
    with launched([sys.executable, "-m", "matrix_align", *words]) as process:
        status = process.wait()
    if status:
        raise InputError(f"`matrix-align {words[0]}` ended with status {status}; see its messages above")


@asynccontextmanager
async def _served(loop: Loop, base: bases.Base) -> AsyncIterator[Endpoint]:
    """The base, served until the block ends, by this process or by the command given for it."""
    if not (loop.endpoint and loop.serve):
        async with open_model(None, str(base.gguf)) as embedded:
            yield embedded
        return
    command = [word.replace("{model}", _weights(base)) for word in words_of(loop.serve)]
    endpoint = Endpoint(loop.endpoint, _weights(base), key=key(), digest=base.identity)
    async with endpoint, serving(command, endpoint):
        yield endpoint


def _weights(base: bases.Base) -> str:
    return str(base.gguf or base.where)
