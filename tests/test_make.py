"""The Makefile: a question reaches the command as it was typed, whatever signs it holds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parent.parent / "Makefile"
QUESTIONS = ['Should I lend my "boss" $500, he\'s in trouble?', "Is 50 % of $(shell date) `too` much?", "a\\b #c"]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("place", ["command line", "environment"])
def test_question_is_as_it_was_typed(tmp_path: Path, question: str, place: str) -> None:
    file = tmp_path / "Makefile"
    file.write_text(f"include {MAKEFILE}\nshow:\n\t@printenv QUESTION\n")
    environment = {**os.environ, **({"QUESTION": question} if place == "environment" else {})}
    words = [f"QUESTION={question}"] if place == "command line" else []
    done = subprocess.run(
        ["make", "--silent", "--no-print-directory", "-f", str(file), "show", *words],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    assert done.stdout == f"{question}\n"
