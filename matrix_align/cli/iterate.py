"""iterate: the whole loop, round after round."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..errors import InputError
from ..llm.builtin import DEFAULT
from .export import shares_of
from .options import FOLDER, SOURCES, THERE, AnswerTokens, Base, DetailOf, Roles, Seed, Steps, setup_of

if TYPE_CHECKING:
    from ..data.sources import Category


def iterate(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help=SOURCES)],
    out: Annotated[Path, typer.Option(help="Folder for the rounds.", **FOLDER)] = ...,  # type: ignore[assignment]
    rounds: Annotated[int, typer.Option(min=1, help="Most rounds to run.")] = 2,
    base: Base = DEFAULT,
    category: Annotated[
        str, typer.Option(help="Category of the questions: helpful or harmful. Default: what the rows say.")
    ] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most questions to take, from each category and SOURCE in turn.")
    ] = None,
    held_out: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.9, help="Share of the questions that only measure, and are never played for tuning."
        ),
    ] = 0.2,
    preference: Annotated[
        Path | None, typer.Option(help="Chosen and rejected replies, to measure preference accuracy.", **THERE)
    ] = None,
    scenes: Annotated[int, typer.Option(min=0, help="Number of scenes to play in each measurement.")] = 10,
    mix: Annotated[
        str, typer.Option(help="Shares of the rows, as in export. Default: all answers and no simulation rows.")
    ] = "",
    config: Annotated[Path | None, typer.Option(help="TOML file for the tuning, as in tune.", **THERE)] = None,
    endpoint: Annotated[str | None, typer.Option(help="URL where the command of --serve answers.")] = None,
    serve: Annotated[
        str | None,
        typer.Option(help="Command that serves the weights {model}, such as 'vllm serve {model} --port 8000'."),
    ] = None,
    roles: Roles = 5,
    steps: Steps = 5,
    detail: DetailOf = None,
    seed: Seed = 0,
    answer_tokens: AnswerTokens = None,
) -> None:
    """Run the whole loop in rounds: generate, export, tune, measure, then again from the tuned model.

    It stops when a round made something worse than chance would. results.md and results.png in OUT hold the
    measurements of the base and of all rounds. The same command resumes the loop.
    """
    from ..iterate import Loop, iterate

    if category not in ("", "helpful", "harmful"):
        raise InputError(f"--category is helpful or harmful (got {category})")
    if bool(endpoint) != bool(serve):
        raise InputError("--serve COMMAND starts the server, --endpoint URL says where it answers; give both")
    setup = setup_of(endpoint, base, seed, None, answer_tokens, roles=roles, steps=steps, detail=detail)
    loop = Loop(
        sources=tuple(sources),
        category=cast("Category", category),
        out=out,
        rounds=rounds,
        base=base,
        setup=setup,
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
