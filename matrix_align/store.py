"""The record: every completed call and every answer, in one SQLite file.

Owns the tables. Knows no HTTP, not how a scene is played, and not how the file is opened (database.py).
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_data_path
from pydantic_core import from_json, to_json

from .database import Database, guarded, has_table, now, opened_to_read
from .errors import ModelError, StoreError
from .types import Answer, Cut, Usage, clean

# A row of `listed`: the beginning of the question, and the kinds of harm that parties of the scene came to. Above about
# 1,000 bytes SQLite keeps part of a row on a page of its own, and a search takes three times as long.
_LISTED = """
    SELECT {0}.at, {0}.id, {0}.method, {0}.model, substr({0}.question, 1, 800), {0}.state, {0}.calls, coalesce((
        SELECT group_concat(DISTINCT atom)
        FROM json_tree(iif(json_valid({0}.answer), {0}.answer, '{{}}'), '$.scene.aftermath.fates')
        WHERE key = 'harm' AND atom <> 'none'), '')"""

_LISTED_NEW = f"""
    CREATE TRIGGER listed_new AFTER INSERT ON answers BEGIN
        INSERT INTO listed {_LISTED.format("NEW")};
    END"""
_LISTED_GROWN = f"""
    CREATE TRIGGER listed_grown AFTER UPDATE ON answers BEGIN
        DELETE FROM listed WHERE at = OLD.at AND id = OLD.id;
        INSERT INTO listed {_LISTED.format("NEW")};
    END"""

# Applied in this order, each once, each in a transaction. Append; never edit one that has been released.
MIGRATIONS = {
    "0101_calls": """
        CREATE TABLE calls (
            key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, text TEXT NOT NULL,
            reasoning TEXT NOT NULL, cut TEXT NOT NULL, usage TEXT NOT NULL, at TEXT NOT NULL
        )""",
    "0102_failures": """
        CREATE TABLE failures (
            id INTEGER PRIMARY KEY, key TEXT NOT NULL, model TEXT NOT NULL, request TEXT NOT NULL,
            error TEXT NOT NULL, message TEXT NOT NULL, reply TEXT NOT NULL, at TEXT NOT NULL
        )""",
    "0103_failures_by_error": "CREATE INDEX failures_by_error ON failures (error)",
    "0104_answers": """
        CREATE TABLE answers (
            id TEXT PRIMARY KEY, at TEXT NOT NULL, method TEXT NOT NULL, model TEXT NOT NULL, question TEXT NOT NULL,
            state TEXT NOT NULL, calls INTEGER NOT NULL, answer TEXT NOT NULL
        )""",
    "0105_answers_by_time": "CREATE INDEX answers_by_time ON answers (at)",
    "0106_inputs": """
        CREATE TABLE inputs (
            place TEXT NOT NULL, question TEXT NOT NULL, rank INTEGER NOT NULL, state TEXT NOT NULL,
            source TEXT NOT NULL, category TEXT NOT NULL, content TEXT NOT NULL, reason TEXT NOT NULL,
            answer TEXT, taken INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (place, question)
        )""",
    "0107_inputs_by_state": "CREATE INDEX inputs_by_state ON inputs (state, rank)",
    "0108_inputs_by_question": "CREATE INDEX inputs_by_question ON inputs (question)",
    # Answers without their long texts, in order of time, so that a list of very many is searched in an instant.
    "0109_listed": """
        CREATE TABLE listed (
            at TEXT NOT NULL, id TEXT NOT NULL, method TEXT NOT NULL, model TEXT NOT NULL, question TEXT NOT NULL,
            state TEXT NOT NULL, calls INTEGER NOT NULL, harms TEXT NOT NULL, PRIMARY KEY (at, id)
        ) WITHOUT ROWID""",
    "0110_listed_before": f"INSERT INTO listed {_LISTED.format('answers')} FROM answers",
    "0111_listed_new": _LISTED_NEW,
    "0112_listed_grown": _LISTED_GROWN,
    # Long questions make the rows long; what the list can be narrowed down to is then read from here.
    "0113_listed_by": "CREATE INDEX listed_by ON listed (state, method, model)",
    # Records made before have 1,000 characters of a question in `listed`, and triggers that take so many.
    "0114_listed_new_gone": "DROP TRIGGER listed_new",
    "0115_listed_new_again": _LISTED_NEW,
    "0116_listed_grown_gone": "DROP TRIGGER listed_grown",
    "0117_listed_grown_again": _LISTED_GROWN,
    "0118_listed_shorter": "UPDATE listed SET question = substr(question, 1, 800) WHERE length(question) > 800",
}


class Summary(NamedTuple):
    """One line of the list of answers. `state` is how the answer ended, 'failed' or 'unfinished'."""

    id: str
    at: str
    method: str
    model: str
    question: str
    state: str
    calls: int


def default_path() -> Path:
    """The path of the record: MATRIX_ALIGN_STORE, or a file in the user's data folder."""
    return Path(os.environ.get("MATRIX_ALIGN_STORE") or user_data_path("matrix-align", appauthor=False) / "scenes.db")


class Store(Database):
    """An open record, to write or only to read. Use as a context manager. Raises StoreError, which names the file."""

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        super().__init__(path, MIGRATIONS, read_only=read_only)
        self._overflowed: dict[str, str] = {}
        try:  # they are few, and every call needs them
            failed = self.select("SELECT key FROM failures WHERE error = 'BadReply'")
        except StoreError:
            self._db.close()
            raise
        self._unusable_replies = Counter(key for (key,) in failed)

    def __enter__(self) -> Store:
        return self

    def call(self, key: str) -> tuple[str, str, Cut, Usage] | None:
        """(text, reasoning, cut, usage) of the completed call with this key, if there is one."""
        found = self.select("SELECT text, reasoning, cut, usage FROM calls WHERE key = ?", key)
        with guarded(self.path):
            return (*found[0][:3], Usage.model_validate_json(found[0][3])) if found else None

    async def add_call(
        self, key: str, model: str, request: str, text: str, reasoning: str, cut: Cut, usage: Usage
    ) -> bool:
        """Returns once the call is committed: False if another process wrote a call with this key meanwhile.

        The earlier call is then kept, because an answer depends on it.
        """
        row = (key, model, request, clean(text), clean(reasoning), cut, usage.model_dump_json(), now())
        return await self.insert("INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def take(self, other: Store) -> None:
        """Writes the completed calls of another record that this one lacks."""
        rows = other.select("SELECT * FROM calls")
        with self.transaction() as db:
            db.executemany("INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def packed(self) -> str:
        """All completed and failed calls of this record, as one text for another record's `unpack`."""
        failures = "SELECT key, model, request, error, message, reply, at FROM failures"
        return to_json([self.select("SELECT * FROM calls"), self.select(failures)]).decode()

    def unpack(self, packed: str) -> None:
        """Writes the calls of another record. They replace earlier ones: the answer sent with them depends on them."""
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
        """The error message if the prompt of this call is known to be too long."""
        return self._overflowed.get(key)

    def recall_overflows(self) -> None:
        """Reads the overflows of earlier processes, so that a resumed answer shortens the same prompts."""
        failed = self.select("SELECT key, message FROM failures WHERE error = 'ContextOverflow'")
        self._overflowed.update(failed)

    def unusable_replies(self) -> Counter[str]:
        """How often each call failed because its replies were unusable, by key."""
        return self._unusable_replies

    def forget_overflows(self) -> None:
        """Allows calls whose prompts were too long to be made again. The server may have a longer context now."""
        with self.transaction() as db:
            db.execute("UPDATE failures SET error = 'ContextOverflow, earlier' WHERE error = 'ContextOverflow'")
        self._overflowed.clear()

    def add_failure(self, key: str, model: str, request: str, error: ModelError) -> None:
        self._learn(key, type(error).__name__, str(error))
        row = (key, model, request, type(error).__name__, clean(str(error)), clean(error.reply[:2000]), now())
        with guarded(self.path):
            self._db.execute("INSERT INTO failures VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", row)

    def save(self, answer: Answer) -> None:
        """Writes the answer in place of its earlier state.

        An incomplete one never replaces a complete one, and of two unfinished ones that with more calls stays.
        """
        with self.transaction():
            self.put(answer)

    def put(self, answer: Answer) -> None:
        """Writes the answer as `save` does, inside a transaction that the caller has opened."""
        self._db.execute(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "at = CASE state WHEN excluded.state THEN at ELSE excluded.at END, "
            "state = excluded.state, calls = excluded.calls, answer = excluded.answer "
            "WHERE CASE WHEN state = 'unfinished' AND excluded.state = 'unfinished' THEN excluded.calls >= calls "
            "ELSE state IN ('failed', 'unfinished') OR excluded.state NOT IN ('failed', 'unfinished') END",
            (
                *(answer.id, now(), answer.method, answer.model, answer.question.text, answer.state),
                *(len(answer.calls), answer.model_dump_json()),
            ),
        )

    def answers(self, limit: int = 20) -> list[Summary]:
        """Summaries of the newest answers, the newest first. The answers themselves are not read."""
        with guarded(self.path):
            rows = self._db.execute(
                "SELECT id, at, method, model, substr(question, 1, 200), state, calls FROM answers "
                "ORDER BY at DESC LIMIT ?",
                (limit,),
            )
            return [Summary(*row) for row in rows]

    def answer(self, id: str) -> Answer | None:
        """The answer with this id, or the only one whose id begins with it."""
        id = clean(id)
        with guarded(self.path):
            rows = self._db.execute(
                "SELECT answer FROM answers WHERE id >= ? AND id < ? ORDER BY id LIMIT 2", (id, id + "\U0010ffff")
            ).fetchall()
            found = [Answer.model_validate_json(answer) for (answer,) in rows]
        return found[0] if found and (len(found) == 1 or found[0].id == id) else None

    def ids(self, beginning: str) -> list[str]:
        """Two ids that begin so, or fewer if there are fewer."""
        rows = self.select("SELECT id FROM answers WHERE id >= ? ORDER BY id LIMIT 2", clean(beginning))
        return [id for (id,) in rows if id.startswith(clean(beginning))]


def holds_calls(path: Path) -> bool:
    """Whether there is a record at `path` with a completed call in it, whatever its version."""
    if not path.exists():
        return False
    with guarded(path), closing(opened_to_read(path)) as db:
        return has_table(db, "calls") and bool(db.execute("SELECT 1 FROM calls LIMIT 1").fetchone())
