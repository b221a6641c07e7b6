"""generate and export: from questions to training data."""

import asyncio
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .options import (
    SOURCES,
    Adapter,
    AnswerTokens,
    AsJson,
    Memory,
    ModelName,
    Roles,
    Seed,
    Steps,
    Temperature,
    print_json,
    settings_of,
    typed,
)


class Format(StrEnum):
    sft = "sft"
    dpo = "dpo"
    sharegpt = "sharegpt"
    scenes = "scenes"


class Engine(StrEnum):
    local = "local"
    ray = "ray"


def generate(
    context: typer.Context,
    sources: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE]...", help=SOURCES)] = None,
    out: Annotated[Path, typer.Option(help="The run: a folder with run.toml and the record.")] = ...,  # type: ignore[assignment]
    column: Annotated[str | None, typer.Option(help="Field of the rows that holds the question.")] = None,
    category: Annotated[
        str, typer.Option(help="What the questions are: helpful or harmful. Goes before what rows say.")
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many questions of the sources.")] = None,
    shuffle: Annotated[int | None, typer.Option(help="Take the questions in an order drawn from this seed.")] = None,
    roles: Roles = 5,
    steps: Steps = 5,
    endpoint: Annotated[
        list[str] | None, typer.Option(help="URL of an OpenAI-compatible server; several share the scenes.")
    ] = None,
    model: ModelName = None,
    adapter: Adapter = None,
    seed: Seed = 0,
    temperature: Temperature = None,
    answer_tokens: AnswerTokens = None,
    memory: Memory = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Scenes at once on each server; else as many as it takes.")
    ] = None,
    sequential: Annotated[bool, typer.Option("--sequential", help="One call at a time, for debugging.")] = False,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Stop after so many tokens, read or written.")] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Stop at this cost, in the currency of --prices.")
    ] = None,
    prices: Annotated[
        str | None, typer.Option(metavar="READ,WRITTEN", help="Price of a million tokens, read and written.")
    ] = None,
    max_time: Annotated[str | None, typer.Option(help="Stop after this time: 90s, 30m, 8h.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Play the scenes that failed, no others.")
    ] = False,
    engine: Annotated[Engine, typer.Option(help="Where the scenes are played.")] = Engine.local,
    as_json: AsJson = False,
) -> None:
    """Play a scene for every question of the SOURCEs, into the run OUT.

    The same command again goes on where it stopped; without a SOURCE, with what the run still holds. Ctrl-C and the
    limits of tokens, cost and time stop it after the calls under way. Exit status 1: not one scene was done.
    """
    from ..generate.batch import INTERRUPT, Batch, budget
    from ..generate.run import Run

    if category not in ("", "helpful", "harmful"):
        raise InputError(f"--category is helpful or harmful (got {category})")
    if not sources and (given := [name for name in ("column", "category", "limit", "shuffle") if typed(context, name)]):
        raise InputError(f"--{given[0]} says how to read a SOURCE, and none is given")
    settings = settings_of(bool(endpoint), roles, steps, seed, temperature, answer_tokens, memory)
    if not sources or Run.described(out):  # as the run was made, but for what is asked for now, which it may refuse
        asked = {name: getattr(settings, name) for name in type(settings).model_fields if typed(context, name)}
        settings = Run.settings_in(out).model_copy(update=asked)
    batch = Batch(
        out=out,
        sources=tuple(sources or ()),
        column=column,
        category=category,  # type: ignore[arg-type]
        limit=limit,
        shuffle=shuffle,
        settings=settings,
        endpoints=tuple(endpoint or ()),
        model=model,
        adapter=adapter,
        concurrency=concurrency,
        sequential=sequential,
        retry_failed=retry_failed,
        tally=budget(max_tokens, max_cost, prices, max_time),
    )
    counts = asyncio.run(batch.play(on_ray=engine is Engine.ray))
    tally = batch.tally
    if as_json:
        usage = tally.usage.model_dump(include={"prompt_tokens", "cached_tokens", "completion_tokens"})
        told = {"inputs": counts, "total": sum(counts.values()), "calls": tally.calls, "tokens": usage}
        print_json(json.dumps({**told, "seconds": round(tally.seconds, 1), "stopped": tally.stop}))
    if tally.stop == INTERRUPT:
        raise KeyboardInterrupt
    if not tally.stop and not counts.get("done"):
        raise typer.Exit(1)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run that `generate` has made.")],
    out: Annotated[
        Path, typer.Option(help="File to write, .jsonl or .parquet, or .json for sharegpt; its card goes beside.")
    ] = ...,  # type: ignore[assignment]
    format: Annotated[
        Format, typer.Option(help="sft: messages; dpo: prompt, chosen, rejected; sharegpt: conversations; scenes.")
    ] = Format.sft,
    mix: Annotated[str, typer.Option(help="Shares of the rows, as helpful=1,harmful=1,simulation=1.")] = "",
    test: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the questions for a test file.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Draws the rows of --mix and the questions of --test.")] = 0,
    push: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Publish the folder of OUT on the hub.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write the scenes of a RUN as training data, with a data card that `datasets` reads."""
    from ..data.export import export as write
    from ..generate.run import Run

    shares = shares_of(mix)
    if not Run.described(run):
        raise InputError(f"{run} holds no run; `matrix-align generate SOURCE --out {run}` makes one")
    with Run.there(run) as opened:
        counts = write(opened, out, format.value, shares, test, seed)
    if push:
        from ..data.publish import publish

        files = [out.name, f"{out.stem}-test{out.suffix}"] if test else [out.name]
        publish(out.parent, files, push)
    told = {split: {"rows": count.rows, **count.kinds} for split, count in sorted(counts.items(), reverse=True)}
    if as_json:
        print_json(json.dumps(told))
    else:
        for split, kinds in told.items():
            took = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
            left_out = counts[split].left_out
            typer.echo(f"{split}: {took}{f'; left out: {left_out:,}' if left_out else ''}", err=True)


def shares_of(mix: str) -> dict[str, float]:
    from ..data.export import KINDS

    shares = {}
    for part in mix.split(",") if mix else ():
        kind, _, share = part.partition("=")
        try:
            shares[kind.strip()] = float(share)
        except ValueError:
            share = "nan"
        if kind.strip() not in KINDS or not 0 <= float(share) <= 1e6:
            raise InputError(f"--mix is like helpful=1,harmful=1,simulation=1 (got {mix})")
    return shares
