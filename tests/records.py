"""What the tests of the record share: one call, a scene, and the file as another program sees it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from matrix_align.simulation.types import Scene
from matrix_align.types import Message, Question, Sampling, Settings

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


def scene(id: str = "a" * 16, **parts: Any) -> Scene:
    given: dict[str, Any] = {"model": "m", "question": Question(text="How?"), "settings": Settings(), **parts}
    return Scene(id=id, **given)
