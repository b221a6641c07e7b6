"""measure: measures a model on held-out questions."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .options import (
    FOLDER,
    SOURCES,
    THERE,
    Adapter,
    AnswerTokens,
    AsJson,
    DetailOf,
    Digest,
    ModelName,
    Roles,
    Seed,
    Steps,
    print_json,
    setup_of,
)

LISTED = 10  # rows that can't be used and are listed one by one


def measure(
    out: Annotated[Path, typer.Option(help="Folder for the measurement.", **FOLDER)] = ...,  # type: ignore[assignment]
    harmful: Annotated[str | None, typer.Option(help=f"SOURCE of questions that should be refused. {SOURCES}")] = None,
    benign: Annotated[str | None, typer.Option(help="SOURCE of questions that should be answered.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most questions of each SOURCE, and most pairs.")] = None,
    scenes: Annotated[int, typer.Option(min=0, help="Number of questions to play scenes around.")] = 0,
    preference: Annotated[
        Path | None,
        typer.Option(help="File of chosen and rejected replies. Needs the weights, see --base.", **THERE),
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server.")] = None,
    model: ModelName = None,
    digest: Digest = None,
    adapter: Adapter = None,
    base: Annotated[
        str | None, typer.Option(help="Weights for --preference. Default: those of the model served here.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Folder of an earlier measurement. Shows the differences from it.", **FOLDER)
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(help="Folder that `tune` made. Its model card gets the table. Default: --adapter.", **FOLDER),
    ] = None,
    roles: Roles = 3,
    steps: Steps = 3,
    detail: DetailOf = None,
    seed: Seed = 0,
    answer_tokens: AnswerTokens = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on held-out questions: refusals, lengths, scenes that end well, preference accuracy.

    The same command resumes the measurement. With --against, the table also goes into the tuned model's card.
    """
    from ..evals import report
    from ..evals.answers import held_out_questions
    from ..evals.folder import Asked, Compared, measure_in
    from ..evals.measurement import read_measurement
    from ..tuning.model_card import CARD, note_measured

    if not (harmful or benign or preference):
        raise InputError("nothing to measure; give --harmful, --benign or --preference")
    if preference and endpoint and not base:
        raise InputError("--preference needs the weights: give --base, the folder or the hub name of what is served")
    if base and not preference:
        raise InputError("--base names the weights for --preference; give that too, or leave --base out")
    if card and not (against and (card / CARD).is_file()):
        raise InputError(f"--card {card}: wanted the folder of an adapter with its {CARD}, together with --against")
    earlier = read_measurement(against) if against else None
    setup = setup_of(endpoint, model, seed, None, answer_tokens, roles=roles, steps=steps, detail=detail)
    sources = {"harmful": harmful, "benign": benign}
    questions = {}
    for name, source in sources.items():
        if source:
            questions[name], faults = held_out_questions(source, limit)
            for row in faults[:LISTED]:
                typer.echo(f"left out: {row.place}: {row.reason}", err=True)
            if len(faults) > LISTED:
                typer.echo(f"… and {len(faults) - LISTED:,} more", err=True)
    if scenes and not questions:
        raise InputError("--scenes are played around questions; give --harmful or --benign too")
    compared = None
    if preference:
        from ..evals.preference import read_pairs
        from ..llm.builtin import DEFAULT
        from ..tuning import base as bases

        weights = bases.named(base or model or DEFAULT)
        compared = Compared(read_pairs(preference, bases.tokenizer(weights), limit), weights)
        for line in compared.pairs.told():
            typer.echo(line, err=True)
    measurement = measure_in(out, Asked(questions, scenes, compared, setup, endpoint, model, digest, adapter))
    for line in report.unanswered(measurement):
        typer.echo(line, err=True)
    if earlier:
        for line in report.incomparable(earlier, measurement):
            typer.echo(line, err=True)
    table = report.table({"before": earlier, "after": measurement} if earlier else {"measured": measurement})
    if earlier and (tuned := card or adapter):
        note_measured(tuned, table)
    if as_json:
        print_json(report.summary(measurement, earlier))
    else:
        typer.echo(table)
