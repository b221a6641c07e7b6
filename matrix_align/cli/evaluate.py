"""evaluate: benchmarks answered by methods, scored, compared in pairs, and put into one report."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .generate import continued, heed_interrupts, opened, own_model
from .options import (
    FOLDER,
    ROLES,
    SEED,
    SETTINGS,
    STEPS,
    THERE,
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
    known_method,
    principles_in,
    print_json,
    setup_of,
    typed,
)

if TYPE_CHECKING:
    from ..evals.benchmarks import Items
    from ..evals.evaluation.report import Report
    from ..llm.endpoint import Endpoint
    from ..methods import Setup

BENCHMARKS = (
    "A benchmark: advbench, harmfulqa, hh-rlhf, hh-rlhf-helpful, pku-saferlhf or xstest, fetched from the hub; or one "
    "of these as NAME=FILE, with a file in that benchmark's own form; or helpful=FILE, with harmless questions in any "
    "form that `generate` reads."
)


def evaluate(
    context: typer.Context,
    benchmarks: Annotated[list[str], typer.Argument(metavar="BENCHMARK...", help=BENCHMARKS)],
    method: Annotated[
        list[str], typer.Option(help="Method to evaluate, of docs/methods.md. Give it several times.")
    ] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option(help="Folder for the evaluation.", **FOLDER)] = ...,  # type: ignore[assignment]
    against: Annotated[str, typer.Option(help="Method that every other one is compared with.")] = "vanilla",
    judge: Annotated[
        str | None, typer.Option(help="URL of the server of a judge. Without it, only refusals are scored, by rule.")
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="Name of the judge on its server.")] = None,
    judge_digest: Annotated[
        str | None, typer.Option(help="Your own name for the judge's weights. Default: what its server says of them.")
    ] = None,
    ratings: Annotated[
        list[Path] | None,
        typer.Option(help="File of ratings of the pairs in OUT/pairs, by people or any model.", **THERE),
    ] = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Show each pair in one order, drawn at random. Halves the work of OUT/pairs."),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Most questions of each BENCHMARK.")] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="URL of an OpenAI-compatible server. Give it several times to share the work."),
    ] = None,
    model: ModelName = None,
    digest: Digest = None,
    adapter: Adapter = None,
    roles: Annotated[int | None, typer.Option(help=f"{ROLES} Default: 5.")] = None,
    steps: Annotated[int | None, typer.Option(help=f"{STEPS} Default: 5.")] = None,
    detail: DetailOf = None,
    without: Without = None,
    memory: Memory = None,
    rounds: Rounds = None,
    candidates: Candidates = None,
    principles: Principles = None,
    budget: Budget = None,
    seed: Annotated[int, typer.Option(help=SEED, show_default="the evaluation's own, or 0 for a new one")] = 0,
    temperature: Temperature = None,
    answer_tokens: AnswerTokens = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Answers in flight on each server. Default: as many as it handles.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer every BENCHMARK by every method, score the answers, compare the methods in pairs, and write one report.

    The same command resumes. A setting that is left out is the evaluation's own; the defaults are for a new one. Where
    every answer is there, leave out --endpoint and --model: no server of answers is asked. Methods, benchmarks and
    judges may be added later: name all that the report is to show; what was done is not done again. The report is
    OUT/report.html, and OUT/report.md. Without a judge the pairs go out blind into OUT/pairs. Exit status 1: no
    question was answered, the judge failed before the end or gave no verdict, or no line of --ratings can be used.
    """
    from rich.console import Console

    from .. import provenance
    from ..errors import Unreachable
    from ..evals.benchmarks import drawn
    from ..evals.evaluation.evaluate import Evaluation, answers, report
    from ..evals.evaluation.folder import DESCRIBED, described, settle, setups_in
    from ..llm.open import open_model
    from ..llm.pool import Server, Stopped, Tally

    if judge_model and not judge:
        raise InputError("--judge-model names a model on the judge's server; give its URL with --judge too")
    if judge_digest is not None and not judge:
        raise InputError("--judge-digest names the weights on the judge's server; give its URL with --judge too")
    if once and (judge or ratings):
        raise InputError("--once is for pairs that go out to be rated; leave it out with --judge and with --ratings")
    methods = list(dict.fromkeys(method))
    for name in methods:
        known_method(name)
    known_method(against, "--against")
    if against not in methods:
        raise InputError(f"--against {against} is none of the methods; give --method {against} too, or name another")
    given = {
        **{"roles": roles, "steps": steps, "memory": memory, "detail": detail, "without": without, "rounds": rounds},
        **{"candidates": candidates, "principles": principles_in(principles), "budget": budget},
    }
    made, before = described(out), setups_in(out)
    tested = made.get("model", {})
    another = next(iter(before.values()), None)  # a method that is new takes the others' sampling
    setups = [
        continued(
            context,
            before.get(name, another),
            setup_of(endpoint, model or tested.get("name"), seed, temperature, answer_tokens, name, **given),
        )
        for name in methods
    ]
    _none_is_strange(context, setups)
    if limit is None:
        limit = made.get("evaluation", {}).get("limit")
    sources = _sources(benchmarks)
    read = {name: _read(name, source) for name, source in sources.items()}
    console = Console(stderr=True, highlight=False)
    for items in read.values():
        for line in items.told()[:10]:
            console.print(line, soft_wrap=True, markup=False)
    evaluation = Evaluation(
        out=out,
        sources=sources,
        read=read,
        questions={name: drawn(items.items, limit) for name, items in read.items()},
        setups=setups,
        against=against,
        ratings=ratings or (),
        once=once,
    )
    there = bool(tested) and not any(cell.left() for cell in evaluation.cells())
    finished = there and not (endpoint or model or adapter or digest is not None)
    if not finished:
        model = own_model(out, tested, endpoint, model)
    asking, judging = Tally(), Tally()

    async def all_of_it() -> "tuple[Report, bool]":
        from dataclasses import replace

        async with AsyncExitStack() as for_judge:
            judges = None
            if judge:
                asked = open_model(judge, judge_model, digest=judge_digest, digest_by="--judge-digest")
                judges = await for_judge.enter_async_context(asked)
            async with AsyncExitStack() as stack:
                endpoints: Sequence[Endpoint] = ()
                try:
                    if not finished:
                        endpoints = await opened(stack, endpoint or [], model, adapter, digest)
                except Unreachable as error:
                    if not there:
                        raise
                    advice = "every answer is there, so leave out --endpoint, --model and --digest"
                    raise InputError(f"{advice} ({error})") from None
                identity = tested.get("name", ""), tested.get("digest", "")
                source = tested.get("source", "")
                if endpoints:
                    identity, source = (endpoints[0].name, endpoints[0].digest), endpoints[0].source
                named = (judges.name, judges.digest) if judges else None
                began = settle(out, (*identity, source), limit, evaluation.questions, setups, named)
                heed_interrupts(asking, console)
                if endpoints:
                    servers = [Server(each, asking, fixed=concurrency) for each in endpoints]
                    await answers(evaluation, servers, asking, console)
            if asking.stop:
                raise KeyboardInterrupt
            heed_interrupts(judging, console)
            try:
                return await report(replace(evaluation, began=began), identity, judges, judging, console)
            except Stopped:
                raise KeyboardInterrupt from None

    with provenance.locked(out, DESCRIBED):
        done, judge_failed = asyncio.run(all_of_it())
    for warning in done.warnings:
        console.print(f"Warning: {warning}", soft_wrap=True, markup=False)
    if as_json:
        print_json(done.model_dump_json(exclude={"samples"}))
    if not any(part.answered for part in done.parts) or judge_failed or (ratings and not done.raters):
        raise typer.Exit(1)


def _sources(benchmarks: Sequence[str]) -> dict[str, str]:
    """Where each benchmark is, by its name: a file, or its own name if the hub has it."""
    from ..evals.benchmarks import named

    sources: dict[str, str] = {}
    for each in benchmarks:
        name, _, file = each.partition("=")
        found = named(name).name
        if found in sources:
            raise InputError(f"{found} is given twice; wanted each benchmark once")
        sources[found] = file or found
    return sources


def _read(name: str, source: str) -> "Items":
    from ..evals.benchmarks import named

    return named(name).read(None if source == name else Path(source))


def _none_is_strange(context: typer.Context, setups: "Sequence[Setup]") -> None:
    """Raises InputError if an option was given that none of the methods has."""
    own = {field for setup in setups for field in type(setup.settings).model_fields}
    if strange := [name for name in SETTINGS if typed(context, name) and name not in own]:
        names = ", ".join(setup.method.name for setup in setups)
        raise InputError(f"none of the methods ({names}) has a setting --{strange[0]}; leave it out")
