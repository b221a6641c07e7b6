"""iterate: the whole loop, round after round."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..errors import InputError
from .export import shares_of
from .options import SOURCES, THERE, AnswerTokens, Base, Roles, Seed, Steps, setup_of

if TYPE_CHECKING:
    from ..data.sources import Category


def iterate(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help=SOURCES)],
    out: Annotated[Path, typer.Option(help="Folder of the rounds; the same command goes on with them.")] = ...,  # type: ignore[assignment]
    rounds: Annotated[int, typer.Option(min=1, help="At most so many.")] = 2,
    base: Base = "embedded",
    category: Annotated[str, typer.Option(help="What the questions are: helpful or harmful; else as rows say.")] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many questions, from each category and SOURCE in turn.")
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the questions to measure by, never played for tuning.")
    ] = 0.2,
    preference: Annotated[
        Path | None, typer.Option(help="Chosen and rejected replies, to measure preference accuracy.", **THERE)
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

    if category not in ("", "helpful", "harmful"):
        raise InputError(f"--category is helpful or harmful (got {category})")
    if bool(endpoint) != bool(serve):
        raise InputError("--serve COMMAND starts the server, --endpoint URL says where it answers; give both")
    setup = setup_of(bool(endpoint), seed, None, answer_tokens, roles=roles, steps=steps)
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
