"""A run: a folder with `run.toml`, which says how its scenes are played, and the record that holds them.

Owns the inputs: which questions there are, from where, and what has become of each. Knows no server.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import sqlite3
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from . import prompts
from .errors import InputError
from .sources import Category, Fault, Row
from .store import Store
from .types import Question, Scene, Settings, clean

PAGE = 500  # inputs written, or read, at once


@dataclass(frozen=True)
class Input:
    """One question to be played; `place` and `question_id` are its key in the record."""

    place: str
    question_id: str
    question: Question
    category: Category


class Run:
    """An open run. Use as a context manager. Raises InputError and StoreError."""

    def __init__(self, folder: Path, settings: Settings, model: str = "", digest: str = "") -> None:
        """Opens the run in `folder`, or makes one."""
        self.folder = folder
        there = self.described(folder)
        mine = {
            "model": {"name": clean(model), "digest": digest},
            "prompts": {"digest": prompts.digest()},
            "settings": settings.model_dump(),
        }
        if there:
            if differ := list(_differences(there, mine)):
                raise InputError(
                    f"{folder} holds a run with other settings: {'; '.join(differ)}; "
                    "give the same ones, or another --out"
                )
        else:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _write(folder / "run.toml", mine)
            except OSError as error:
                raise InputError(f"can't make the run {folder}: {error.strerror}") from None
        self.settings = settings
        self.store = Store(folder / "record.db")

    @classmethod
    def there(cls, folder: Path) -> Run:
        """The run in `folder` as it was made, with whatever model and prompts."""
        run = cls.__new__(cls)
        run.folder, run.settings = folder, cls.settings_in(folder)
        run.store = Store(folder / "record.db")
        return run

    @staticmethod
    def described(folder: Path) -> dict[str, Any]:
        """What run.toml says, or nothing where there is no run."""
        path = folder / "run.toml"
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise InputError(f"can't read {path}: {error}") from None

    @classmethod
    def settings_in(cls, folder: Path) -> Settings:
        """Those of the run that is there. Raises InputError where there is none."""
        if not (there := cls.described(folder)):
            raise InputError(f"{folder} holds no run yet; give a SOURCE of questions")
        try:
            return Settings.model_validate(there.get("settings", {}))
        except ValidationError as error:
            raise InputError(f"{folder / 'run.toml'}: {error.errors()[0]['msg']}") from None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.__exit__()

    def take(self, rows: Iterable[Row | Fault], limit: int | None = None, shuffle: int | None = None) -> None:
        """Notes the rows as inputs, each question once, at most `limit` of them.

        What was noted before keeps its scene: a question that is found on another line has moved there, a bad row that
        was mended is a bad row no more, and a category that is given now takes the place of an earlier one. With
        `shuffle` in the order of hashes drawn from that seed, so that all rows are read and few are held.
        """
        if shuffle is not None:

            def drawn(numbered: tuple[int, Row | Fault]) -> int:
                return _hash(f"{shuffle} {numbered[1].place}")

            numbered = enumerate(rows)
            taken = heapq.nsmallest(limit, numbered, drawn) if limit else sorted(numbered, key=drawn)
            rows = (row for _, row in taken)
        rows = iter(rows)
        first, take = self.store.select("SELECT coalesce(max(rank), 0) + 1, coalesce(max(taken), 0) + 1 FROM inputs")[0]
        left = limit
        while (left is None or left > 0) and (page := list(islice(rows, min(PAGE, left or PAGE)))):
            fresh = self._note(page, first, take)
            first += len(page)
            left = None if left is None else left - fresh

    def _note(self, page: list[Row | Fault], rank: int, take: int) -> int:
        """Writes a page of rows; how many of them are questions not seen before in this `take`."""
        with self.store.transaction() as db:
            return sum(_noted(db, row, number, take) for number, row in enumerate(page, start=rank))

    def waiting(self, only_failed: bool = False) -> Iterator[Input]:
        """The inputs still to be played, first those that failed before, or just these; read by the page."""
        for state in ("again",) if only_failed else ("again", "waiting"):
            rank = -1
            while page := self.store.select(
                "SELECT place, question, content, category, rank FROM inputs "
                "WHERE state = ? AND rank > ? ORDER BY rank LIMIT ?",
                state,
                rank,
                PAGE,
            ):
                for place, key, content, category, rank in page:
                    yield Input(place, key, Question.model_validate_json(content), category)

    def retry_failed(self) -> int:
        """Marks the failed scenes to be played again; how many there are to be."""
        with self.store.transaction() as db:
            db.execute("UPDATE inputs SET state = 'again' WHERE state = 'failed'")
        return int(self.store.select("SELECT count(*) FROM inputs WHERE state = 'again'")[0][0])

    def close(self, played: Input, scene: Scene) -> None:
        """Writes a scene that is whole or has failed, and what has become of its input, in one commit."""
        state, reason = ("failed", scene.error) if scene.error else ("done", "")
        with self.store.transaction() as db:
            self.store.put(scene)
            db.execute(
                "UPDATE inputs SET state = ?, reason = ?, scene = ? WHERE place = ? AND question = ?",
                (state, reason, scene.id, played.place, played.question_id),
            )

    def counts(self) -> dict[str, int]:
        """Every input by what has become of it; failures by their class."""
        rows = self.store.select(
            "SELECT CASE WHEN state = 'failed' THEN 'failed: ' || substr(reason, 1, instr(reason, ':') - 1) "
            "ELSE state END AS became, count(*) FROM inputs GROUP BY became ORDER BY became"
        )
        return dict(rows)

    def faults(self, limit: int = 20) -> list[tuple[str, str, str]]:
        """(place, state, reason) of inputs that could not be used or played, the first of them."""
        found = self.store.select(
            "SELECT place, state, reason FROM inputs WHERE state IN ('bad row', 'failed') ORDER BY rank LIMIT ?", limit
        )
        return [(place, state, reason) for place, state, reason in found]

    def scenes(self) -> Iterator[tuple[Scene, str, str]]:
        """(scene, category, source) of every input that is done, in order."""
        last = -1
        while page := self.store.select(
            "SELECT i.rank, s.scene, i.category, i.source FROM inputs i JOIN scenes s ON s.id = i.scene "
            "WHERE i.state = 'done' AND i.rank > ? ORDER BY i.rank LIMIT 100",
            last,
        ):
            for last, scene, category, source in page:
                yield Scene.model_validate_json(scene), category, source


def _noted(db: sqlite3.Connection, row: Row | Fault, rank: int, take: int) -> bool:
    """Writes one row; whether it is a question, and the first time that this `take` meets it."""
    insert = "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)"
    if isinstance(row, Fault):
        db.execute(insert, (row.place, "", rank, "bad row", row.source, "", "", row.reason, take))
        return False
    content = row.question.model_dump_json()
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    db.execute("DELETE FROM inputs WHERE place = ? AND state = 'bad row'", (row.place,))
    there = db.execute(
        "SELECT place, state = 'duplicate', source, taken FROM inputs WHERE question = ?", (key,)
    ).fetchall()
    same = [each for each in there if each[0] == row.place]
    moved = [each for each in there if each[2] == row.source and each[3] != take and not each[1]]
    if found := same or moved:
        place, again, _, taken = found[0]
        db.execute(
            "UPDATE inputs SET place = ?, taken = ?, category = coalesce(nullif(?, ''), category) "
            "WHERE place = ? AND question = ?",
            (row.place, take, row.category, place, key),
        )
        return not again and taken != take
    state = "duplicate" if there else "waiting"
    db.execute(insert, (row.place, key, rank, state, row.source, row.category, content, "", take))
    return not there


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _differences(there: dict[str, Any], mine: dict[str, Any]) -> Iterator[str]:
    for part, fields in mine.items():
        for name, value in fields.items():
            if (was := there.get(part, {}).get(name)) != value:
                yield f"{part}.{name} was {json.dumps(was)}, is {json.dumps(value)}"


def _write(path: Path, parts: dict[str, dict[str, Any]]) -> None:
    """TOML of tables of plain values, which JSON spells the same way; whole or not at all."""
    lines = ["# How the scenes of this run are played. `matrix-align generate --out` with this folder goes on with it."]
    for part, fields in parts.items():
        lines += [
            f"\n[{part}]",
            *(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()),
        ]
    half = path.with_suffix(".part")
    half.write_text("\n".join(lines) + "\n", encoding="utf-8")
    half.replace(path)
