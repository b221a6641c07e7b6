"""Writes a run as training data: the files of a data set, split by question, with a data card beside them.

Owns which file a row goes into, and what is counted. `mix` chooses the rows. Reads the run twice if there is something
to choose: once to choose, and once to write. Writes each row as soon as it is read. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..generate.run import Run
from .data_card import Count, data_card, files_described
from .mix import Choice, Sample, choice
from .refusal import refuses
from .rows import FASTCHAT, Limit, TrainingRow, training_rows
from .writers import writer

KINDS = ("helpful", "harmful", "simulation")
FORMATS = ("sft", "dpo", "sharegpt", "scenes")


def export(
    run: Run,
    out: Path,
    format: str,
    mix: Mapping[str, float],
    test: float,
    seed: int,
    limit: Limit | None = None,
) -> dict[str, Count]:
    """Writes `out` (train) and README.md, the data card. If `test` > 0, also writes the test file, named `…-test`.

    `mix` gives the shares of helpful, harmful and simulation rows. The scarcest kind decides how many rows are taken,
    and `seed` decides which. An empty `mix` takes all helpful, harmful and uncategorised rows, and no simulation rows.
    Rows beyond `limit` are left out before the mix is made. `test` is a share of the questions of the rows taken. It is
    rounded, and at least one of two or more questions is held out. Returns what went into each file. Raises InputError
    for a name or a mix that is impossible, and if no row would be written.
    """
    if format not in FORMATS:
        raise InputError(f"--format is one of {', '.join(FORMATS)} (got {format})")
    if out.suffix not in (".jsonl", ".parquet", *([".json"] if format == "sharegpt" else [])):
        raise InputError(f"--out {out}: wanted a name that ends in .jsonl or .parquet, or .json for sharegpt")
    simulation = bool(mix.get("simulation"))
    if simulation and format in ("dpo", "scenes"):
        raise InputError(
            f"--mix with simulation goes with --format sft or sharegpt; {format} rows have no simulation among them"
        )
    if out.suffix == ".json":
        format = FASTCHAT
    chosen = Choice()
    if mix or test:
        rows = training_rows(run, format, simulation, limit)
        chosen = choice(((row.kind, row.asked) for row in rows if not row.left_out), mix, test, seed)
    sample = Sample(chosen.quotas, seed)
    beside = out.with_name(f"{out.stem}-test{out.suffix}")
    files = {"test": beside, "train": out} if test else {"train": out}
    counts = {name: Count() for name in files}
    readme = out.parent / "README.md"
    _check_is_ours(readme, out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            writers = {name: stack.enter_context(writer(path)) for name, path in files.items()}
            for row in training_rows(run, format, simulation, limit):
                if not row.left_out and not sample.takes(row.kind):
                    row = replace(row, content={}, left_out=_not_in_the_mix(row.kind, mix))
                name = "test" if row.asked in chosen.test else "train"
                if not row.left_out:
                    writers[name](row.content)
                _count(counts[name], row)
            if not counts["train"].rows:
                reasons = ", ".join(counts["train"].left_out) or "no answer in it is done"
                raise InputError(f"{run.folder} holds nothing to export as {format}: {reasons}")
        if "test" not in counts or not counts["test"].rows:  # an earlier export's would hold the same questions
            beside.unlink(missing_ok=True)
        options = {"mix": dict(mix), "test": test, "seed": seed, "max_length": limit.tokens if limit else 0}
        readme.write_text(data_card(run, files, format, counts, options), encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't write {error.filename or out}: {error.strerror}") from None
    return counts


def _check_is_ours(readme: Path, out: Path) -> None:
    """Raises InputError if the export would overwrite a file that is not its own."""
    try:
        text = readme.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise InputError(f"can't read {readme}: {error.strerror}") from None
    described = files_described(text)
    if text and out.name not in (described or ()):
        raise InputError(f"{readme} is not of this export, and would be overwritten; give --out a folder of its own")
    if described is None and out.exists():
        raise InputError(f"{out} is no export of ours, and would be overwritten; give another --out")


def _not_in_the_mix(kind: str, mix: Mapping[str, float]) -> str:
    return f"{kind}, more than --mix takes" if mix.get(kind) else f"{kind}, of which --mix takes none"


def _count(count: Count, row: TrainingRow) -> None:
    if row.left_out:
        count.left_out[row.left_out] += 1
        return
    count.rows += 1
    count.kinds[row.kind] += 1
    count.sources[row.source] += 1
    count.characters.append(len(row.answer))
    count.cut += row.cut
    count.refusals += row.kind != "simulation" and refuses(row.answer)
