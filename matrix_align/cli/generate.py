"""generate: an answer to each of many questions, by one method."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..errors import InputError
from .options import (
    FOLDER,
    ROLES,
    SEED,
    SETTINGS,
    SOURCES,
    STEPS,
    Adapter,
    AnswerTokens,
    AsJson,
    Budget,
    Candidates,
    DetailOf,
    Digest,
    Memory,
    ModelName,
    Principles,
    Rounds,
    Temperature,
    Without,
    principles_in,
    print_json,
    setup_of,
    typed,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ..llm.endpoint import Endpoint
    from ..llm.pool import Tally
    from ..methods import Setup
    from ..types import Frozen

T = TypeVar("T", bound="Frozen")
SECONDS = {"s": 1, "m": 60, "h": 3600}


def _new(default: str) -> str:
    """The default of an option that an existing run knows."""
    return f"the run's own, or {default} for a new run"


class Engine(StrEnum):
    local = "local"
    ray = "ray"


def generate(
    context: typer.Context,
    sources: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE]...", help=SOURCES)] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run: run.toml and the record.", **FOLDER)] = ...,  # type: ignore[assignment]
    column: Annotated[str | None, typer.Option(help="Field of a row that holds the question.")] = None,
    category: Annotated[
        str, typer.Option(help="Category of the questions: helpful or harmful. Default: what the rows say.")
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Most questions to take from the sources.")] = None,
    shuffle: Annotated[int | None, typer.Option(help="Shuffle the questions with this seed.")] = None,
    method: Annotated[
        str,
        typer.Option(
            help="Method that answers the questions: matrix, vanilla or another of docs/methods.md.",
            show_default=_new("matrix"),
        ),
    ] = "matrix",
    roles: Annotated[int, typer.Option(help=ROLES, show_default=_new("5"))] = 5,
    steps: Annotated[int, typer.Option(help=STEPS, show_default=_new("5"))] = 5,
    detail: DetailOf = None,
    without: Without = None,
    rounds: Rounds = None,
    candidates: Candidates = None,
    principles: Principles = None,
    budget: Budget = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="URL of an OpenAI-compatible server. Give it several times to share the work."),
    ] = None,
    model: ModelName = None,
    digest: Digest = None,
    adapter: Adapter = None,
    seed: Annotated[int, typer.Option(help=SEED, show_default=_new("0"))] = 0,
    temperature: Temperature = None,
    answer_tokens: AnswerTokens = None,
    memory: Memory = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Answers in flight on each server. Default: as many as it handles.")
    ] = None,
    sequential: Annotated[bool, typer.Option("--sequential", help="Make one call at a time, for debugging.")] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many tokens of prompts and replies.")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Stop at this cost. Needs --prices.")] = None,
    prices: Annotated[
        str | None, typer.Option(metavar="PROMPT,REPLY", help="Prices of a million tokens of prompts and of replies.")
    ] = None,
    max_time: Annotated[str | None, typer.Option(help="Stop after this time, such as 90s, 30m or 8h.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Answer only the questions that failed.")
    ] = False,
    engine: Annotated[Engine, typer.Option(help="Where to work: on this machine, or on a Ray cluster.")] = Engine.local,
    as_json: AsJson = False,
) -> None:
    """Answer every question of the SOURCEs with one method, and keep the answers in the run OUT.

    The same command resumes the run. Without a SOURCE it takes the questions that the run already has. Ctrl-C and the
    limits of tokens, cost and time stop the run after the calls in flight. A method or setting that is left out is the
    run's own; the defaults are for a new run. Exit status 1: the run OUT holds no finished answer.
    """
    from rich.console import Console

    from ..data.sources import questions_from
    from ..generate.progress import INTERRUPT, showing, summarise
    from ..generate.run import Run
    from ..generate.schedule import generate
    from ..llm.pool import Server
    from ..types import counted

    if category not in ("", "helpful", "harmful"):
        raise InputError(f"--category is helpful or harmful (got {category})")
    if not sources and (given := [name for name in ("column", "category", "limit", "shuffle") if typed(context, name)]):
        raise InputError(f"--{given[0]} says how to read a SOURCE, and none is given")
    on_ray = engine is Engine.ray
    if on_ray and not endpoint:
        raise InputError("--engine ray needs --endpoint URL, one that every node can reach")
    if on_ray and sequential:
        raise InputError("--sequential is for one machine; give it without --engine ray")
    tables = Run.described(out)
    if not (sources or tables):
        raise InputError(f"{out} holds no run yet; give a SOURCE of questions")
    model = own_model(out, tables.get("model", {}), endpoint, model)
    setup = _setup(
        context, Run.setup_in(out) if tables else None, endpoint, model, method, seed, temperature, answer_tokens,
        roles=roles, steps=steps, memory=memory, detail=detail, without=without, rounds=rounds, candidates=candidates,
        principles=principles_in(principles), budget=budget,
    )  # fmt: skip
    tally = limits(max_tokens, max_cost, prices, max_time)
    console = Console(stderr=True, highlight=False)

    async def answer_all() -> dict[str, int]:
        async with AsyncExitStack() as stack:
            rows = [questions_from(source, column, category) for source in sources or ()]  # type: ignore[arg-type]
            endpoints = await opened(stack, endpoint or [], model, adapter, digest)
            first = endpoints[0]
            run = stack.enter_context(Run(out, setup, first.name, first.digest, first.source))
            if rows and (changed := run.inputs.take(rows, limit, shuffle)):
                console.print(f"Changed the category of {counted(changed, 'question')} of the run")
            for source_rows in rows:
                source_rows.close()  # a limit may have left them in the middle
            again = run.inputs.retry_failed() if retry_failed else 0
            counts = run.inputs.counts()
            tally.total = again if retry_failed else counts.get("waiting", 0) + counts.get("again", 0)
            heed_interrupts(tally, console)
            async with showing(tally, console):
                if on_ray:
                    from ..generate.ray import generate_on_ray

                    await generate_on_ray(run, endpoints, tally, concurrency or 8, retry_failed)
                else:
                    one_by_one = asyncio.Lock() if sequential else None
                    servers = [Server(each, tally, fixed=concurrency, one_by_one=one_by_one) for each in endpoints]
                    await generate(run, servers, tally, only_failed=retry_failed)
            counts = run.inputs.counts()
            summarise(console, run, counts, tally)
        return counts

    counts = asyncio.run(answer_all())
    if as_json:
        usage = tally.usage.model_dump(include={"prompt_tokens", "cached_tokens", "completion_tokens"})
        report = {"inputs": counts, "total": sum(counts.values()), "calls": tally.calls, "tokens": usage}
        print_json(json.dumps({**report, "seconds": round(tally.seconds, 1), "stopped": tally.stop}))
    if tally.stop == INTERRUPT:
        raise KeyboardInterrupt
    if not counts.get("done"):
        raise typer.Exit(1)


def _setup(
    context: typer.Context,
    made: "Setup | None",
    endpoint: list[str] | None,
    model: str | None,
    method: str,
    seed: int,
    temperature: float | None,
    answer_tokens: int | None,
    **settings: int | str | Sequence[str] | None,
) -> "Setup":
    """The setup of the command line. For a run that exists: the run's setup with the options that were given.

    `settings` are all that a method may have. One that was given and that this method has not raises InputError.
    """
    if made and not typed(context, "method"):
        method = made.method.name
    setup = setup_of(endpoint, model, seed, temperature, answer_tokens, method, **settings)
    own = type(setup.settings).model_fields
    if strange := [name for name in SETTINGS if typed(context, name) and name not in own]:
        raise InputError(f"--method {method} has no setting --{strange[0]}; leave it out")
    return continued(context, made, setup)


def continued(context: typer.Context, made: "Setup | None", setup: "Setup") -> "Setup":
    """The setup `made` before with the options that were given. `setup` is what all options make, with their defaults.

    Of a setup of another method only the sampling is kept.
    """

    def changed(before: "T", now: "T") -> "T":
        return before.model_copy(update={name: value for name, value in now if typed(context, name)})

    if not made:
        return setup
    sampling = changed(made.sampling, setup.sampling)
    if made.method is not setup.method:
        return replace(setup, sampling=sampling)
    return replace(made, settings=changed(made.settings, setup.settings), sampling=sampling)


def own_model(folder: Path, made: Mapping[str, str], endpoint: Sequence[str] | None, model: str | None) -> str | None:
    """The name of the model that goes on with `folder`, which was `made` by a model (name and digest) or is new.

    Raises InputError if no option gives the model and it is none of the built-in ones. Nothing is fetched before.
    """
    from ..llm.builtin import BUILTIN
    from ..llm.identity import made_on_a_server

    name = made.get("name", "")
    if endpoint or not made:
        return model
    if made_on_a_server(made.get("digest", "")):
        raise InputError(f"{folder} was made with {name} on a server; give its --endpoint URL")
    built_in = next((entry.name for entry in BUILTIN.values() if entry.title == name), None)
    if not model and not built_in:
        raise InputError(f"{folder} was made with {name}; name it with --model")
    return model or built_in


async def opened(
    stack: AsyncExitStack, urls: list[str], model: str | None, adapter: Path | None, digest: str | None
) -> "list[Endpoint]":
    """The endpoints at these URLs, or the model served here. Raises InputError if they serve different models."""
    from ..llm.open import open_model

    places = tuple(dict.fromkeys(urls)) or (None,)
    endpoints = [await stack.enter_async_context(open_model(place, model, adapter, digest)) for place in places]
    if len(identities := {(each.name, each.digest) for each in endpoints}) > 1:
        models = ", ".join(sorted({name for name, _ in identities}))
        if len({name for name, _ in identities}) > 1:
            raise InputError(f"the endpoints serve different models: {models}; a run has one model")
        raise InputError(f"the endpoints describe {models} differently; if the weights are the same, give a --digest")
    return endpoints


def limits(max_tokens: int | None, max_cost: float | None, prices: str | None, max_time: str | None) -> "Tally":
    """The limits of a run from its command line. Raises InputError."""
    from ..llm.pool import Tally

    if max_cost is not None and prices is None:
        raise InputError("--max-cost needs --prices PROMPT,REPLY, the prices of a million tokens")
    read_written = (0.0, 0.0)
    if prices:
        try:
            one, other = (float(price) for price in prices.split(","))
        except ValueError:
            one = other = -1.0
        if not (0 <= one < float("inf") and 0 <= other < float("inf") and one + other > 0):
            raise InputError(f"--prices is two numbers with a comma, as in 0.15,0.60 (got {prices})")
        read_written = one, other
    if max_cost is not None and not max_cost < float("inf"):
        raise InputError(f"--max-cost is a number (got {max_cost})")
    seconds = None
    if max_time:
        if not (found := re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", max_time)):
            raise InputError(f"--max-time is a number with s, m or h, as in 30m (got {max_time})")
        seconds = float(found[1]) * SECONDS[found[2]]
    return Tally(max_tokens=max_tokens, max_cost=max_cost, max_seconds=seconds, prices=read_written)


def heed_interrupts(tally: "Tally", console: "Console") -> None:
    """The first Ctrl-C waits for the calls in flight. The second one stops at once."""
    from ..generate.progress import INTERRUPT

    loop = asyncio.get_running_loop()

    def stop() -> None:
        tally.stop = INTERRUPT
        loop.remove_signal_handler(signal.SIGINT)
        console.print("Stopping after the calls in flight. Press Ctrl-C again to stop at once.")

    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGINT, stop)
