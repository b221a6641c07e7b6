"""Shared by the tests of the record: a call, an answer, and the file as another program sees it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from matrix_align.types import Answer, Message, Question, Sampling

ASKED = [Message(role="user", content="Which colour?")]
SAMPLING = Sampling(temperature=0.7, max_tokens=64, seed=3)


def rows(path: Path, query: str) -> list[Any]:
    """What another program reads from the file."""
    with sqlite3.connect(path) as db:
        found = db.execute(query).fetchall()
    db.close()
    return found


def change(path: Path, statement: str, *values: Any) -> None:
    """What another program does to the file."""
    with sqlite3.connect(path) as db:
        db.execute(statement, values)
    db.close()


def answer(id: str = "a" * 16, **parts: Any) -> Answer:
    given: dict[str, Any] = {"method": "matrix", "model": "m", "digest": "", "question": Question(text="How?"), **parts}
    return Answer(id=id, settings={}, sampling=SAMPLING, **given)
