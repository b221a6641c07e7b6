"""The record: every completed call and every scene, in one SQLite file.

Owns the schema and its migrations. Knows no HTTP and not how a scene is played.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from .errors import ModelError, StoreError
from .simulation.types import Scene
from .types import Usage, clean, shorten

# Applied in this order, each once, each in a transaction. Append; never edit one that has been released.
MIGRATIONS = {
    "0001_calls": """
        CREATE TABLE calls (
            key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, text TEXT NOT NULL,
            reasoning TEXT NOT NULL, cut INTEGER NOT NULL, usage TEXT NOT NULL, at TEXT NOT NULL
        )""",
    "0002_failures": """
        CREATE TABLE failures (
            id INTEGER PRIMARY KEY, key TEXT NOT NULL, model TEXT NOT NULL, request TEXT NOT NULL,
            error TEXT NOT NULL, message TEXT NOT NULL, reply TEXT NOT NULL, at TEXT NOT NULL
        )""",
    "0003_scenes": """
        CREATE TABLE scenes (
            id TEXT PRIMARY KEY, at TEXT NOT NULL, model TEXT NOT NULL, question TEXT NOT NULL,
            state TEXT NOT NULL, events INTEGER NOT NULL, scene TEXT NOT NULL
        )""",
    "0004_scenes_by_time": "CREATE INDEX scenes_by_time ON scenes (at)",
    "0005_inputs": """
        CREATE TABLE inputs (
            place TEXT NOT NULL, question TEXT NOT NULL, rank INTEGER NOT NULL, state TEXT NOT NULL,
            source TEXT NOT NULL, category TEXT NOT NULL, content TEXT NOT NULL, reason TEXT NOT NULL,
            scene TEXT, PRIMARY KEY (place, question)
        )""",
    "0006_inputs_by_state": "CREATE INDEX inputs_by_state ON inputs (state, rank)",
    "0007_inputs_by_question": "CREATE INDEX inputs_by_question ON inputs (question)",
    "0008_failures_by_error": "CREATE INDEX failures_by_error ON failures (error)",
    "0009_inputs_taken": "ALTER TABLE inputs ADD COLUMN taken INTEGER NOT NULL DEFAULT 0",
}


TOGETHER = 0.003  # seconds: next to nothing beside a model's reply, and one commit for hundreds of them


class Row(NamedTuple):
    """One line of the list of scenes. `state` is how the scene ended, 'failed' or 'unfinished'."""

    id: str
    at: str
    model: str
    question: str
    state: str
    events: int


def default_path() -> Path:
    """Where the record is kept: MATRIX_ALIGN_STORE, else the user's data folder."""
    if named := os.environ.get("MATRIX_ALIGN_STORE"):
        return Path(named)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "matrix-align" / "scenes.db"


class Store:
    """An open record. Use as a context manager. Raises StoreError, with the file named, for whatever goes wrong."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with self._guard():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            self._uncommitted: list[tuple[tuple[Any, ...], asyncio.Future[bool]]] = []
            try:
                self._use_wal()
                self._db.execute("PRAGMA synchronous = NORMAL")  # survives a killed process
                self._db.execute("PRAGMA wal_autocheckpoint = 8000")  # pages; each waits for the disk
                self._migrate()
                failures = "SELECT key, message FROM failures WHERE error = ?"  # few, and asked for at every call
                self._overflowed = dict(self._db.execute(failures, ("ContextOverflow",)).fetchall())
                self._unusable_replies = Counter(key for key, _ in self._db.execute(failures, ("BadReply",)))
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        if self._uncommitted:  # those who asked are gone, but what they asked for is paid
            self._commit()
        self._db.close()

    def _use_wal(self) -> None:
        """Readers beside one writer. SQLite does not wait for other first openers here, so we do."""
        for attempt in range(100):
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or attempt == 99:
                    raise
                time.sleep(0.05)

    def _migrate(self) -> None:
        with self.transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, at TEXT NOT NULL)")
            done = {name for (name,) in db.execute("SELECT name FROM migrations")}
            if newer := done - set(MIGRATIONS):
                raise StoreError(
                    f"{self.path} was written by a newer matrix-align (it has {min(newer)}); "
                    "update matrix-align or use another file"
                )
            for name, statement in MIGRATIONS.items():
                if name not in done:
                    db.execute(statement)
                    db.execute("INSERT INTO migrations VALUES (?, ?)", (name, _now()))

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> StoreError:
        why = shorten(str(error), 200)
        return StoreError(f"the record {self.path} can't be used: {why}; mend the file or use another")

    def call(self, key: str) -> tuple[str, str, bool, Usage] | None:
        """(text, reasoning, cut, usage) of the completed call of this key, if there is one."""
        found = self.select("SELECT text, reasoning, cut, usage FROM calls WHERE key = ?", key)
        try:
            return (*found[0][:2], bool(found[0][2]), Usage.model_validate_json(found[0][3])) if found else None
        except ValueError as error:
            raise self._unusable(error) from error

    async def add_call(
        self, key: str, model: str, request: str, text: str, reasoning: str, cut: bool, usage: Usage
    ) -> bool:
        """Returns when the call is committed. Calls that end within some milliseconds share one commit.

        False if another process may have written one of this key meanwhile: that one is kept, a scene rests on it.
        """
        row = (key, model, request, clean(text), clean(reasoning), cut, usage.model_dump_json(), _now())
        loop = asyncio.get_running_loop()
        if not self._uncommitted:
            loop.call_later(TOGETHER, self._commit)
        committed: asyncio.Future[bool] = loop.create_future()
        self._uncommitted.append((row, committed))
        return await committed

    def _commit(self) -> None:
        together, self._uncommitted = self._uncommitted, []
        fault: StoreError | None = None
        new = False
        try:
            with self.transaction():
                done = self._db.executemany(
                    "INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [row for row, _ in together]
                )
                new = done.rowcount == len(together)
        except StoreError as error:
            fault = error
        for _, committed in together:
            if committed.done():  # who asked was cancelled meanwhile
                continue
            if fault:
                committed.set_exception(fault)
            else:
                committed.set_result(new)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside is written, or nothing. StoreError where it can't be."""
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def select(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except (sqlite3.Error, ValueError) as error:
            raise self._unusable(error) from error

    def packed(self) -> str:
        """All calls of this record, and those that failed, as one text for `unpack` of another."""
        failures = "SELECT key, model, request, error, message, reply, at FROM failures"
        return to_json([self.select("SELECT * FROM calls"), self.select(failures)]).decode()

    def unpack(self, packed: str) -> None:
        """Writes the calls of another record; the scene that comes with them rests on these, not on earlier ones."""
        calls, failures = from_json(packed)
        with self.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)", calls)
            db.executemany("INSERT INTO failures VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", failures)
        for key, _, _, error, message, *_ in failures:
            self._learn(key, error, message)

    def _learn(self, key: str, error: str, message: str) -> None:
        if error == "ContextOverflow":
            self._overflowed[key] = message
        elif error == "BadReply":
            self._unusable_replies[key] += 1

    def forget(self, key: str) -> None:
        with self.transaction() as db:
            db.execute("DELETE FROM calls WHERE key = ?", (key,))

    def overflowed(self, key: str) -> str | None:
        """What was said if the prompt of this call was too long."""
        return self._overflowed.get(key)

    def unusable_replies(self) -> Counter[str]:
        """How often each call has failed because no reply to it could be used, by key; where it has at all."""
        return self._unusable_replies

    def forget_overflows(self) -> None:
        """Lets calls whose prompts were too long be made again: the server may have been given more room."""
        with self.transaction() as db:
            db.execute("UPDATE failures SET error = 'ContextOverflow, earlier' WHERE error = 'ContextOverflow'")
        self._overflowed.clear()

    def add_failure(self, key: str, model: str, request: str, error: ModelError) -> None:
        self._learn(key, type(error).__name__, str(error))
        row = (key, model, request, type(error).__name__, clean(str(error)), clean(error.reply[:2000]), _now())
        with self._guard():
            self._db.execute("INSERT INTO failures VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", row)

    def save(self, scene: Scene) -> None:
        """Writes the scene as it stands. A later state of it takes its place, but never an unfinished one a whole."""
        with self.transaction():
            self.put(scene)

    def put(self, scene: Scene) -> None:
        """The same, inside a transaction that writes more."""
        state = "failed" if scene.error else scene.ending.how if scene.ending and scene.revised else "unfinished"
        self._db.execute(
            "INSERT INTO scenes VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "at = CASE state WHEN excluded.state THEN at ELSE excluded.at END, "
            "state = excluded.state, events = excluded.events, scene = excluded.scene "
            "WHERE state IN ('failed', 'unfinished') OR excluded.state NOT IN ('failed', 'unfinished')",
            (scene.id, _now(), scene.model, scene.question.text, state, len(scene.events), scene.model_dump_json()),
        )

    def scenes(self, limit: int = 20) -> list[Row]:
        """The newest scenes, newest first, without reading the scenes themselves."""
        with self._guard():
            rows = self._db.execute(
                "SELECT id, at, model, substr(question, 1, 200), state, events FROM scenes ORDER BY at DESC LIMIT ?",
                (limit,),
            )
            return [Row(*row) for row in rows]

    def scene(self, id: str) -> Scene | None:
        """The scene whose id is or, if only one does, begins with `id`."""
        id = clean(id)
        with self._guard():
            rows = self._db.execute(
                "SELECT scene FROM scenes WHERE id >= ? AND id < ? ORDER BY id LIMIT 2", (id, id + "\U0010ffff")
            ).fetchall()
            found = [Scene.model_validate_json(scene) for (scene,) in rows]
        return found[0] if found and (len(found) == 1 or found[0].id == id) else None


def holds_calls(path: Path) -> bool:
    """Whether the record at `path` is there and anything was paid for."""
    if not path.exists():
        return False
    with Store(path) as store:
        return bool(store.select("SELECT 1 FROM calls LIMIT 1"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
