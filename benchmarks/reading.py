"""Whether scenes make sense to a reader, and whether the revised answers are better: the fault table.

    python -m benchmarks.reading sheets RUN… --v01 RUN… --out FOLDER   # what a reader reads, and empty marks
    python -m benchmarks.reading table FOLDER…                         # the marks as a table, in Markdown

A RUN is a folder that `matrix-align generate benchmarks/reading.jsonl --column text --out RUN` made; with --v01,
version 0.1 of this package made it. A run is a system, and its folder's name is the system's. docs/reading.md says who
reads, what the marks mean, and what was found.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from matrix_align import InputError
from matrix_align.errors import MatrixAlignError

from .reading_marks import marked, questions
from .reading_scenes import Played, scenes, scenes_of_0_1
from .reading_sheets import write
from .reading_table import table

QUESTIONS = Path(__file__).with_suffix(".jsonl")


def sheets(runs: list[Path], runs_of_0_1: list[Path], asked: Path, out: Path, seed: int) -> None:
    """Writes the sheets of all runs, mixed, into the folder `out`, and says what is missing."""
    if not runs and not runs_of_0_1:
        raise InputError("no run was given; wanted at least one RUN, or --v01 RUN")
    systems: dict[str, dict[str, Played]] = {}
    for run, read in [*((run, scenes) for run in runs), *((run, scenes_of_0_1) for run in runs_of_0_1)]:
        if (name := run.resolve().name) in systems:
            raise InputError(f"two runs are named {name!r}, as their folders are; rename one of these")
        systems[name] = read(run)
    wanted = questions(asked)
    write(out, wanted, systems, seed)
    for name, played in systems.items():
        found = [played[question.text] for question in wanted if question.text in played]
        broken = sum(bool(scene.error) for scene in found)
        print(f"{name}: {len(found)} of {len(wanted)} questions played, {broken} of these broke off", file=sys.stderr)
    print(f"for the reader: {out / 'reader'}; docs/reading.md has the rubric. The key is not for the reader.")


def tables(folders: list[Path]) -> None:
    """Prints a table for each folder, and on standard error what could not be read."""
    for folder in folders:
        found, unreadable = marked(folder)
        for line in unreadable:
            print(line, file=sys.stderr)
        print(f"### {folder.resolve().name}\n\n{table(found)}\n")


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True, dest="command")
    one = commands.add_parser("sheets", help="write what a reader reads")
    one.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="a run of this version")
    one.add_argument("--v01", nargs="+", type=Path, default=[], metavar="RUN", help="a run of version 0.1")
    one.add_argument("--questions", type=Path, default=QUESTIONS, help="JSON lines of id, text and kind")
    one.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    one.add_argument("--seed", type=int, default=1, help="draws the order of the sheets and the sides of the pairs")
    other = commands.add_parser("table", help="print the marks as a table")
    other.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="what `sheets` wrote, marked")
    given = parser.parse_args(args)
    try:
        if given.command == "sheets":
            sheets(given.runs, given.v01, given.questions, given.out, given.seed)
        else:
            tables(given.folders)
    except MatrixAlignError as error:
        sys.exit(_complaint(error))


def _complaint(error: MatrixAlignError) -> int:
    print(f"reading: {error}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
