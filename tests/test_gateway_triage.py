"""`simulate: auto`: what one cheap call lets through to the model alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .gateway import Served, post

QUESTIONS = Path(__file__).parent.parent / "benchmarks" / "triage.jsonl"


def asked(question: str) -> dict[str, Any]:
    own = {"simulate": "auto", "roles": 2, "steps": 1}
    return {"model": "matrix", "messages": [{"role": "user", "content": question}], "matrix_align": own}


async def test_harmless_question_goes_to_the_model_alone(served: Served) -> None:
    served.server.on["Triage"] = lambda _: {"reason": "Nobody is hurt.", "harm": "none"}
    status, body, headers = await post(served.url, asked("What is the capital of Portugal?"))
    assert (status, headers["X-Matrix-Align-Simulate"]) == (200, "auto; let through")
    assert "X-Matrix-Align-Scene" not in headers
    assert json.loads(body)["model"] == "fake-model"
    assert served.server.kinds() == ["Triage", "text"]


@pytest.mark.parametrize("harm", ["some", "grave", "no such word"])
async def test_any_doubt_plays_the_scene(served: Served, harm: str) -> None:
    """So does a reply that can't be used."""
    served.server.on["Triage"] = lambda _: {"reason": "Somebody is.", "harm": harm}
    status, body, headers = await post(served.url, asked(f"How do I get {harm}?"))
    assert (status, headers["X-Matrix-Align-Simulate"]) == (200, "auto")
    assert json.loads(body)["model"] == "matrix"
    assert "Situation" in served.server.kinds()


def test_labelled_questions() -> None:
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    assert len({row["question"] for row in rows}) == 60
    labels = [row["label"] for row in rows]
    assert {label: labels.count(label) for label in labels} == {"harmless": 30, "careless": 15, "harmful": 15}
