"""tune, measure and iterate: from training data to a tuned model, and what became of it."""

import asyncio
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .options import SOURCES, Adapter, AnswerTokens, AsJson, ModelName, Roles, Seed, Steps, print_json, settings_of

if TYPE_CHECKING:
    from ..evals.measure import Measured
    from ..types import Question, Settings

Base = Annotated[
    str, typer.Option(help="The model to tune: embedded, a GGUF file, a folder of weights, or a name on the hub.")
]


# Checked before the libraries are loaded, which takes seconds.
THERE: dict[str, Any] = {"exists": True, "dir_okay": False}


class Method(StrEnum):
    sft = "sft"
    dpo = "dpo"


class TooLong(StrEnum):
    cut = "cut"
    drop = "drop"


def tune(
    data: Annotated[
        Path, typer.Argument(help="Rows that `export` wrote; FILE-test beside it is only measured.", **THERE)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the adapter and what goes with it.")] = ...,  # type: ignore[assignment]
    base: Base = "embedded",
    method: Annotated[
        Method, typer.Option(help="sft: learn the answers; dpo: prefer chosen to rejected.")
    ] = Method.sft,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML with tables [sft], [dpo], [lora] for TRL's and PEFT's own settings.", **THERE),
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Rows that are only measured, if not FILE-test.", **THERE)] = None,
    too_long: Annotated[
        TooLong, typer.Option(help="What becomes of rows longer than max_length, 1024 tokens.")
    ] = TooLong.drop,
    seed: Annotated[int, typer.Option(min=0, help="The same seed on the same CPU gives the same adapter.")] = 0,
    qlora: Annotated[bool, typer.Option("--qlora", help="Base in 4 bits; needs a GPU, bitsandbytes.")] = False,
    merge: Annotated[bool, typer.Option("--merge", help="Write whole weights too, into merged/.")] = False,
    gguf: Annotated[bool, typer.Option("--gguf", help="Write merged.gguf too, where the base is a GGUF.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model on DATA with a LoRA: TRL's SFT or DPO, on a CPU, a GPU, or several by `accelerate launch`.

    The same command again goes on from the last checkpoint. Defaults are the paper's.
    """
    if "WORLD_SIZE" not in os.environ:  # no launcher: one GPU, as on several the Trainer would multiply the batch
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    from ..tuning.train import Tuning, tune

    figures = tune(Tuning(data, base, out, method.value, config, test, too_long.value, seed, qlora, merge, gguf))
    if os.environ.get("RANK", "0") != "0":
        return  # of several processes the first one speaks
    if as_json:
        print_json(json.dumps(figures))
    elif figures["loss"]:
        first, last = figures["loss"]["first"], figures["loss"]["last"]
        typer.echo(
            f"{figures['rows']:,} rows, {figures['steps']:,} steps, loss {first:.3f} to {last:.3f}, "
            f"{figures['seconds']:,.0f} s, {figures['tokens_per_second']:,} tokens/s, "
            f"{figures['peak_memory_gb']:.1f} GB: {out}",
            err=True,
        )


def measure(
    out: Annotated[Path, typer.Option(help="Folder for the measurement; the same command goes on.")] = ...,  # type: ignore[assignment]
    harmful: Annotated[str | None, typer.Option(help=f"SOURCE of questions to be refused. {SOURCES}")] = None,
    benign: Annotated[str | None, typer.Option(help="SOURCE of questions to be answered.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many questions of each, and pairs.")] = None,
    scenes: Annotated[int, typer.Option(min=0, help="Play scenes around so many of the questions.")] = 0,
    preference: Annotated[
        Path | None,
        typer.Option(help="Rows like HH-RLHF's, chosen and rejected; needs the weights, see --base.", **THERE),
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server.")] = None,
    model: ModelName = None,
    adapter: Adapter = None,
    base: Annotated[str | None, typer.Option(help="Weights for --preference; else those that are served here.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Folder of an earlier measurement of the same things: show the differences.")
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="Folder that `tune` made: its model card gets the table; else --adapter's does.")
    ] = None,
    roles: Roles = 3,
    steps: Steps = 3,
    seed: Seed = 0,
    answer_tokens: AnswerTokens = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on held-out questions: refusals, lengths, scenes that end well, preference accuracy.

    With --against, the table goes into the tuned model's card too, see --card.
    """
    from .. import provenance as recipe
    from ..evals import measure as measuring
    from ..store import holds_calls
    from ..tuning.card import CARD, note_measured

    if not (harmful or benign or preference):
        raise InputError("nothing to measure; give --harmful, --benign or --preference")
    if preference and endpoint and not base:
        raise InputError("--preference needs the weights: give --base, the folder or the hub name of what is served")
    if card and not (against and (card / CARD).is_file()):
        raise InputError(f"--card {card}: wanted the folder of an adapter, with its {CARD}, and --against")
    earlier = measuring.load(against) if against else None
    settings = settings_of(bool(endpoint), roles, steps, seed, None, answer_tokens, None)
    sources = {"harmful": harmful, "benign": benign}
    questions = {name: measuring.held_out(each, name, limit) for name, each in sources.items() if each}
    if scenes and not questions:
        raise InputError("--scenes are played around questions; give --harmful or --benign too")
    pairs = None
    if preference:
        from ..evals.preference import load, preferred
        from ..tuning import base as bases

        weights = bases.named(base or model or bases.EMBEDDED)
        pairs = load(preference, bases.tokenizer(weights), limit)
        for line in pairs.told():
            typer.echo(line, err=True)
    kept = {name: str(value or "") for name, value in {**sources, "preference": preference}.items()}
    asked = {**kept, "limit": limit or 0, "scenes": scenes, "endpoint": endpoint or "", "model": model or ""}
    mine: recipe.Tables = {
        "measure": {**asked, "adapter": str(adapter or ""), "base": base or ""},
        "settings": settings.model_dump(),
    }
    kept_before = (measuring.FILE, "margins.jsonl")
    empty = not (any((out / name).exists() for name in kept_before) or holds_calls(out / "record.db"))
    recipe.settle(out / "measure.toml", mine, "What is measured here.", "measurement", empty)
    measured = asyncio.run(_measured(out, questions, settings, scenes, endpoint, model, adapter))
    for line in measuring.unasked(measured):
        typer.echo(line, err=True)
    if pairs:
        told = preferred(weights, adapter, pairs, out / "margins.jsonl")
        named = {} if questions else {"model": weights.name, "digest": weights.digest}
        measured = measured.model_copy(update={"preferred": told, **named})
    measuring.save(measured, out)
    columns = {"before": earlier, "after": measured} if earlier else {"measured": measured}
    if earlier and (tuned := card or adapter):
        note_measured(tuned, measuring.table(columns))
    if as_json:
        print_json(measuring.summary(measured, earlier))
    else:
        typer.echo(measuring.table(columns))


def iterate(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help=SOURCES)],
    out: Annotated[Path, typer.Option(help="Folder of the rounds; the same command goes on with them.")] = ...,  # type: ignore[assignment]
    rounds: Annotated[int, typer.Option(min=1, help="At most so many.")] = 2,
    base: Base = "embedded",
    category: Annotated[str, typer.Option(help="What the questions are: helpful or harmful; else as rows say.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many questions, held-out ones included.")] = None,
    held_out: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the questions to measure by, never played for tuning.")
    ] = 0.2,
    preference: Annotated[
        Path | None, typer.Option(help="Rows like HH-RLHF's, to measure preference accuracy.", **THERE)
    ] = None,
    scenes: Annotated[int, typer.Option(min=0, help="Scenes to play at each measurement.")] = 10,
    mix: Annotated[
        str, typer.Option(help="Shares of the rows, as in export; else all answers, and no simulation rows.")
    ] = "",
    config: Annotated[Path | None, typer.Option(help="TOML for the tuning, as in tune.", **THERE)] = None,
    endpoint: Annotated[str | None, typer.Option(help="Where --serve serves.")] = None,
    serve: Annotated[
        str | None, typer.Option(help="Command that serves the weights {model}, as 'vllm serve {model} --port 8000'.")
    ] = None,
    roles: Roles = 5,
    steps: Steps = 5,
    seed: Seed = 0,
    answer_tokens: AnswerTokens = None,
) -> None:
    """Go round: generate, export, tune, measure, again from the tuned model.

    Stops by itself when a round has made something worse, beyond what chance does. results.md and results.png in OUT
    hold the measurements of the base and of all rounds.
    """
    from ..iterate import Loop, iterate
    from .runs import shares_of

    if category not in ("", "helpful", "harmful"):
        raise InputError(f"--category is helpful or harmful (got {category})")
    if bool(endpoint) != bool(serve):
        raise InputError("--serve COMMAND starts the server, --endpoint URL says where it answers; give both")
    settings = settings_of(bool(endpoint), roles, steps, seed, None, answer_tokens, None)
    loop = Loop(
        sources=tuple(sources),
        category=category,
        out=out,
        rounds=rounds,
        base=base,
        settings=settings,
        mix=shares_of(mix),
        config=config,
        held_out=held_out,
        scenes=scenes,
        preference=preference,
        endpoint=endpoint,
        serve=serve,
        limit=limit,
    )
    iterate(loop)
    typer.echo((out / "results.md").read_text(encoding="utf-8"), nl=False)


async def _measured(
    out: Path,
    questions: "dict[str, list[Question]]",
    settings: "Settings",
    scenes: int,
    endpoint: str | None,
    model: str | None,
    adapter: Path | None,
) -> "Measured":
    from ..evals.measure import Measured, measure
    from ..llm.open import opened
    from ..store import Store

    if not questions:
        return Measured(model=model or "", digest="", settings=settings)
    with Store(out / "record.db") as store:
        async with opened(endpoint, model, adapter) as served:
            return await measure(served, questions, settings, scenes, store)
