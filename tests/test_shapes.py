"""What `tune` and `measure --preference` make of the shapes of rows that people use."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from matrix_align.evals.preference import read_pairs
from matrix_align.tuning import base as bases
from matrix_align.tuning.examples import examples

from . import tiny
from .test_questions import documented

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return bases.tokenizer(bases.named(str(tiny.write(tmp_path_factory.mktemp("tiny")))))


def test_every_documented_preference_is_measured_and_learned_from(tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(documented("Preferences")))
    learned = examples(tmp_path / "a.jsonl", "dpo", tokenizer, 1000, "drop")
    assert not learned.faults
    texts = [(row.prompt[-1]["content"], row.chosen[0]["content"], row.rejected[0]["content"]) for row in learned.rows]
    assert texts == [("Why is the sky blue?", "Light scatters.", "No idea."), *[("Why?", "So.", "No.")] * 4]
    measured = read_pairs(tmp_path / "a.jsonl", tokenizer)
    assert not measured.faults
    assert (len(measured.found), measured.again) == (2, 3), "the same pair, however it is written"


def test_preferences_in_a_table(tokenizer: Any, tmp_path: Path) -> None:
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows([["Prompt", "chosen", "rejected"], ["Why?", "So.", "No."], ["Why?", "So.", ""]])
    measured = read_pairs(tmp_path / "a.csv", tokenizer)
    assert len(measured.found) == 1 and measured.faults == [f"{tmp_path}/a.csv:3: rejected is empty"]


TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS},
        {"Messages": json.dumps(TURNS)},
        {"messages": [TURNS[0], {"role": "assistant", "content": [{"type": "text", "text": "So."}]}]},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    ],
)
def test_conversations_are_learned_from(tokenizer: Any, tmp_path: Path, row: dict[str, Any]) -> None:
    """They are read as questions are, our own ShareGPT export included."""
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    [example] = examples(tmp_path / "a.jsonl", "sft", tokenizer, 1000, "drop").rows
    assert [*example.prompt, *example.chosen] == TURNS
