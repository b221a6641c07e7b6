"""The answers of a run as a log of Inspect AI, which `inspect view` shows and `read_eval_log` reads.

A sample's id is its question's, so that two runs, a benchmark's task and a file of ratings name it alike. A question
that failed is a sample with its error. One that waits is no sample, and the log counts it. Owns what a log says of a
run; conversation.py says how an answer looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...data.data_card import Count
from ...errors import InputError
from ...generate.run import Run
from ...types import Answer, Question, Usage
from ..answers import id_of

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample

SUFFIXES = (".eval", ".json")
WAITING = "not answered yet"
NO_API = "none"  # Inspect's models have an API before their name; it scores a log of this one without asking it


def export_log(run: Run, out: Path) -> Count:
    """Writes the log `out`. Returns what it holds. Raises InputError for an impossible name, if the run holds neither
    an answer nor a failure, and if Inspect AI is missing.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"--out {out}: wanted a name that ends in .eval or .json for --format inspect")
    try:
        from inspect_ai.log import (
            EvalConfig,
            EvalDataset,
            EvalLog,
            EvalPlan,
            EvalPlanStep,
            EvalResults,
            EvalSpec,
            EvalStats,
            write_eval_log,
        )
        from inspect_ai.model import GenerateConfig

        from .conversation import KEPT, tokens
    except ImportError:
        raise InputError("a log of Inspect AI needs it: pip install 'matrix-align[eval]'") from None
    if out.exists():
        raise InputError(f"{out} is there already; give another --out")
    count, described = Count(), Run.described(run.folder)["model"]
    digest = str(described.get("digest") or "")
    model = f"{NO_API}/{described.get('name') or 'unknown'}"
    samples = list(_samples(run, model, count))
    if not samples:
        raise InputError(f"{run.folder} holds no answer yet; resume it with `matrix-align generate --out {run.folder}`")
    now = datetime.now(UTC).isoformat()
    setup, waiting = run.setup, count.left_out[WAITING]
    solver = f"{KEPT}/{setup.method.name}"
    settings = setup.settings.model_dump(mode="json")
    config = GenerateConfig(**setup.sampling.model_dump())
    log = EvalLog(
        status="success",
        eval=EvalSpec(
            created=now,
            task=f"{KEPT}/{run.folder.resolve().name}",
            task_id=run.folder.resolve().name,
            dataset=EvalDataset(
                name=run.folder.resolve().name, samples=len(samples), sample_ids=[sample.id for sample in samples]
            ),
            model=model,
            model_generate_config=config,
            solver=solver,
            solver_args=settings,
            solver_args_passed=settings,
            config=EvalConfig(epochs=1),
            metadata={"prompts": setup.method.digest, "weights": digest, "waiting": waiting},
        ),
        plan=EvalPlan(steps=[EvalPlanStep(solver=solver, params=settings, params_passed=settings)], config=config),
        results=EvalResults(total_samples=len(samples) + waiting, completed_samples=count.rows - count.kinds["failed"]),
        stats=EvalStats(started_at=now, completed_at=now, model_usage={model: tokens(_used(run))}),
        samples=samples,
    )
    count.left_out = +count.left_out
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_eval_log(log, str(out))
    except OSError as error:
        raise InputError(f"can't write {out}: {error.strerror}") from None
    return count


def _samples(run: Run, model: str, count: Count) -> Iterator[EvalSample]:
    from inspect_ai.log import EvalError, EvalSample
    from inspect_ai.model import ModelOutput

    for answer, category, source in run.inputs.answers():
        count.rows += 1
        count.kinds[category or "uncategorised"] += 1
        yield _answered(answer, category, source, model)
    for question, state, reason in run.inputs.unanswered():
        if state != "failed":
            count.left_out[WAITING] += 1
            continue
        count.rows += 1
        count.kinds["failed"] += 1
        error = EvalError(message=reason, traceback=reason, traceback_ansi=reason)
        shared = _shared(question)
        yield EvalSample(**shared, messages=shared["input"], output=ModelOutput(model=model), error=error)


def _answered(answer: Answer, category: str, source: str, model: str) -> EvalSample:
    from inspect_ai.log import EvalSample

    from .conversation import KEPT, account, output_of, tokens

    shared, output = _shared(answer.question), output_of(answer)
    return EvalSample(
        **shared,
        messages=[*shared["input"], output.message],
        output=output,
        metadata={"category": category, "source": source, KEPT: account(answer)},
        store={KEPT: answer.model_dump(mode="json")},
        model_usage={model: tokens(answer.usage)},
    )


def _shared(question: Question) -> dict[str, Any]:
    from .model import MESSAGES

    chat = [MESSAGES[turn.role](content=turn.content) for turn in question.messages()]
    return {"id": id_of(question), "epoch": 1, "input": chat, "target": ""}


def _used(run: Run) -> Usage:
    return sum((answer.usage for answer, _, _ in run.inputs.answers()), start=Usage())
