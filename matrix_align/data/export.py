"""Writes a run as training data: the files of a data set, split by question, with a data card beside them.

Owns the choice of rows: the mix of kinds, and the split. Writes each row as soon as it is read. Knows no model.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from ..errors import InputError
from ..generate.run import Run
from .data_card import Count, data_card, files_described
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
    Rows beyond `limit` are left out before the mix is made. Returns what went into each file. Raises InputError for a
    name or a mix that is impossible, and if no row would be written.
    """
    if format not in FORMATS:
        raise InputError(f"--format is one of {', '.join(FORMATS)} (got {format})")
    if out.suffix not in (".jsonl", ".parquet", *([".json"] if format == "sharegpt" else [])):
        raise InputError(f"--out {out}: wanted a name that ends in .jsonl or .parquet, or .json for sharegpt")
    if mix and format in ("dpo", "scenes"):
        raise InputError(f"--mix goes with --format sft or sharegpt; {format} rows have no simulation among them")
    if out.suffix == ".json":
        format = FASTCHAT
    simulation = bool(mix.get("simulation"))
    quotas = None
    if mix:
        usable = (row.kind for row in training_rows(run, format, simulation, limit) if not row.left_out)
        quotas = _quotas(Counter(usable), mix)
    beside = out.with_name(f"{out.stem}-test{out.suffix}")
    files = {"test": beside, "train": out} if test else {"train": out}
    counts = {name: Count() for name in files}
    readme = out.parent / "README.md"
    _check_is_ours(readme, out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            writers = {name: stack.enter_context(writer(path)) for name, path in files.items()}
            for row in _taken(training_rows(run, format, simulation, limit), quotas, seed):
                name = "test" if _drawn(f"split {seed} {row.asked}") < test else "train"
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


def _quotas(usable: Counter[str], mix: Mapping[str, float]) -> dict[str, tuple[int, int]]:
    """For each kind of row, how many to take and how many there are."""
    wanted = {kind: share for kind, share in mix.items() if share > 0}
    if not wanted:
        raise InputError("--mix takes nothing: every share in it is 0")
    if missing := [kind for kind in wanted if not usable[kind]]:
        counted = ", ".join(f"{count:,} {kind}" for kind, count in sorted(usable.items())) or "nothing"
        raise InputError(f"--mix wants {missing[0]} rows and there are none (there are {counted}); see --category")
    unit = min(usable[kind] / share for kind, share in wanted.items())
    return {kind: (int(unit * share + 1e-9), usable[kind]) for kind, share in wanted.items()}


def _taken(rows: Iterator[TrainingRow], quotas: dict[str, tuple[int, int]] | None, seed: int) -> Iterator[TrainingRow]:
    """The rows to write and those left out, in their order. Of each kind, takes a sample of exactly its quota."""
    seen: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for row in rows:
        if quotas is None or row.left_out:
            yield row
            continue
        quota, count = quotas.get(row.kind, (0, 0))
        left = count - seen[row.kind]
        seen[row.kind] += 1
        # Selection sampling (Knuth, The Art of Computer Programming, vol. 2, 3.4.2, algorithm S).
        missing = quota - taken[row.kind]
        if missing and _drawn(f"mix {seed} {row.kind} {seen[row.kind]}") * left < missing:
            taken[row.kind] += 1
            yield row


def _drawn(text: str) -> float:
    """A number in [0, 1) that depends only on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


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
