"""A run: a folder with `run.toml`, which says how its scenes are played, and the record that holds them.

Owns the inputs: which questions there are, from where, and what has become of each. Knows no server.
"""

from __future__ import annotations

import hashlib
import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from .. import provenance as recipe
from ..data.sources import BadRow, Category, SourceRow
from ..errors import InputError
from ..simulation import prompts
from ..simulation.types import Scene
from ..store import Store, holds_calls
from ..types import Question, Settings, clean

DESCRIBED = "run.toml"
NOTE = "How the scenes of this run are played. `matrix-align generate --out` with this folder goes on with it."
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
        mine = {
            "model": {"name": clean(model), "digest": digest},
            "prompts": {"digest": prompts.digest()},
            "settings": settings.model_dump(),
        }
        self.settings = settings
        self._lock: FileLock | None = _locked(folder)  # before anything of another process's run is touched
        try:
            empty = not holds_calls(folder / "record.db")  # nothing was paid for: other settings are welcome
            recipe.settle(folder / DESCRIBED, mine, NOTE, "run", empty)
            self.store = Store(folder / "record.db")
            self.store.recall_overflows()  # so that a scene that goes on finds its calls, which came after them
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def there(cls, folder: Path) -> Run:
        """The run in `folder` as it was made, with whatever model and prompts, only to be read."""
        run = cls.__new__(cls)
        run.folder, run.settings = folder, cls.settings_in(folder)
        run._lock = None
        run.store = Store(folder / "record.db", read_only=True)
        return run

    @staticmethod
    def described(folder: Path) -> recipe.Tables:
        """What run.toml says, or nothing where there is no run."""
        return recipe.read(folder / DESCRIBED)

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
        try:
            self.store.__exit__()
        finally:
            if self._lock:
                self._lock.release()

    def take(self, rows: Iterable[SourceRow | BadRow], limit: int | None = None, shuffle: int | None = None) -> int:
        """Notes the rows as inputs, each question once, at most `limit` of them; how many changed their category.

        What was noted before keeps its scene: a question that is found on another line has moved there, a bad row that
        was mended is a bad row no more, and a category that is given now takes the place of an earlier one. With
        `shuffle` in the order of hashes drawn from that seed, so that all rows are read and few are held.
        """
        if shuffle is not None:

            def drawn(numbered: tuple[int, SourceRow | BadRow]) -> int:
                return _hash(f"{shuffle} {numbered[1].place}")

            numbered = enumerate(rows)
            taken = heapq.nsmallest(limit, numbered, drawn) if limit else sorted(numbered, key=drawn)
            rows = (row for _, row in taken)
        rows = iter(rows)
        first, take = self.store.select("SELECT coalesce(max(rank), 0) + 1, coalesce(max(taken), 0) + 1 FROM inputs")[0]
        left, files, changes = limit, set[str](), 0
        while (left is None or left > 0) and (page := list(islice(rows, min(PAGE, left or PAGE)))):
            with self.store.transaction() as db:
                fresh = sum(_noted(db, row, number, take) for number, row in enumerate(page, start=first))
                changes += sum(_recategorised(db, row) for row in page if isinstance(row, SourceRow) and row.category)
            files |= {_file(row.place) for row in page}
            first += len(page)
            left = None if left is None else left - fresh
        if limit is None:  # these files were read to their ends
            with self.store.transaction() as db:
                for file in files:
                    db.execute(
                        "DELETE FROM inputs WHERE state IN ('bad row', 'duplicate') AND taken < ? "
                        "AND substr(place, 1, ?) = ?",
                        (take, len(file), file),
                    )
        return changes

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
        if self.store.select("SELECT 1 FROM inputs WHERE state = 'failed' AND reason LIKE 'ContextOverflow%' LIMIT 1"):
            self.store.forget_overflows()
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


def _file(place: str) -> str:
    return place.rpartition(":")[0] + ":"


def _key(row: SourceRow) -> tuple[str, str]:
    content = row.question.model_dump_json()
    return content, hashlib.sha256(content.encode()).hexdigest()[:16]


def _recategorised(db: sqlite3.Connection, row: SourceRow) -> int:
    """Gives a question that is there the category that its row has now; 1 where it had another."""
    return db.execute(
        "UPDATE inputs SET category = ? WHERE place = ? AND question = ? AND category != ?",
        (row.category, row.place, _key(row)[1], row.category),
    ).rowcount


def _locked(folder: Path) -> FileLock:
    """Two at work on one run would pay for everything twice. Raises InputError where another one is."""
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(f"another process is at work on {folder}; wait for it, or stop it") from None
    except OSError as error:
        raise InputError(f"can't make the run {folder}: {error.strerror}") from None
    except NotImplementedError:
        raise InputError(f"the disk of {folder} has no locks; give an --out on another disk") from None
    return lock


def _noted(db: sqlite3.Connection, row: SourceRow | BadRow, rank: int, take: int) -> bool:
    """Writes one row; whether it is a question, and the first time that this `take` meets it."""
    insert = "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)"
    if isinstance(row, BadRow):
        db.execute(insert, (row.place, "", rank, "bad row", row.source, "", "", row.reason, take))
        return False
    content, key = _key(row)
    db.execute("DELETE FROM inputs WHERE place = ? AND state = 'bad row'", (row.place,))
    there = db.execute("SELECT place, state = 'duplicate', taken FROM inputs WHERE question = ?", (key,)).fetchall()
    same = [each for each in there if each[0] == row.place]
    moved = [each for each in there if _file(each[0]) == _file(row.place) and each[2] != take and not each[1]]
    if found := same or moved:
        place, again, taken = found[0]
        db.execute(
            "UPDATE inputs SET place = ?, taken = ? WHERE place = ? AND question = ?", (row.place, take, place, key)
        )
        return not again and taken != take
    state = "duplicate" if there else "waiting"
    db.execute(insert, (row.place, key, rank, state, row.source, row.category, content, "", take))
    return not there


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
