"""One SQLite file, opened to write or to read: migrations, transactions, and commits that many callers share.

Every failure is a StoreError that names the file and says what to do. Knows nothing of what the tables contain.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import StoreError
from .types import shorten

TOGETHER = 0.003  # seconds: short compared with a reply, yet long enough for hundreds of replies to share a commit

VERSION_0_1 = "0003_scenes"  # a migration that only records of 0.1 have

# What to do about a failure, by SQLite's code.
ADVICE = {
    sqlite3.SQLITE_FULL: "free some space, then run the same command again",
    sqlite3.SQLITE_BUSY: "another process is writing to it; wait for it, or stop it",
    sqlite3.SQLITE_READONLY: "allow writing to it, or use another",
    sqlite3.SQLITE_CANTOPEN: "allow reading and writing it and its folder, or use another",
}


@dataclass(frozen=True)
class _Insert:
    """A statement that waits for its commit, and the future of the caller that waits for it."""

    statement: str
    row: tuple[Any, ...]
    new: asyncio.Future[bool]

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for it any more: the caller was cancelled, or its event loop is closed."""
        return self.new.done() or self.new.get_loop().is_closed()


class Database:
    """An open file. Use as a context manager, in one thread. Raises StoreError.

    Opening to write makes the folder and applies the `migrations` (names to statements) that the file lacks. Opening to
    read needs a file that is there and up to date. It writes nothing, so it works in a read-only folder and beside a
    writer.
    """

    def __init__(self, path: Path | str, migrations: Mapping[str, str], *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._inserts: list[_Insert] = []
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that will commit them
        if self.path.is_dir():
            raise StoreError(
                f"the record {path} is a folder; wanted a file: use another, such as {self.path / 'record.db'}"
            )
        with guarded(self.path):
            self._db = opened_to_read(self.path) if read_only else _opened_to_write(self.path)
            try:
                if read_only:
                    self._check(migrations)
                else:
                    self._migrate(migrations)
            except BaseException:
                self._db.close()
                raise

    def __exit__(self, *_: object) -> None:
        """Commits what still waits, and closes the file."""
        try:
            if fault := self._commit():
                raise fault
        finally:
            self._db.close()

    def _check(self, migrations: Mapping[str, str]) -> None:
        if missing := set(migrations) - self._applied(migrations):
            raise StoreError(
                f"{self.path} is not a record of this version of matrix-align (it lacks {min(missing)}); "
                "a command that writes to it brings an older one up to date, or use another file"
            )

    def _migrate(self, migrations: Mapping[str, str]) -> None:
        with self.transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, at TEXT NOT NULL)")
            applied = self._applied(migrations)
            for name, statement in migrations.items():
                if name not in applied:
                    db.execute(statement)
                    db.execute("INSERT INTO migrations VALUES (?, ?)", (name, now()))

    def _applied(self, migrations: Mapping[str, str]) -> set[str]:
        """The names of the migrations that the file has had. Raises StoreError if one of them is unknown here."""
        if not has_table(self._db, "migrations"):
            return set()
        applied = {name for (name,) in self._db.execute("SELECT name FROM migrations")}
        if VERSION_0_1 in applied:
            raise StoreError(
                f"{self.path} is a record of matrix-align 0.1, which this version can't read; "
                "use another file, and matrix-align 0.1 to read this one"
            )
        if newer := applied - set(migrations):
            raise StoreError(
                f"{self.path} was written by a newer matrix-align (it has {min(newer)}); "
                "update matrix-align or use another file"
            )
        return applied

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A block whose writes are all committed, or none of them."""
        with guarded(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def select(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with guarded(self.path):
            return self._db.execute(statement, values).fetchall()

    async def insert(self, statement: str, row: tuple[Any, ...]) -> bool:
        """Executes `statement` and returns, once that is committed, whether it wrote a row.

        Inserts within a few milliseconds share one commit. If the caller is cancelled, its row is committed at once,
        because its event loop may be about to end.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._commit()  # inserts of an event loop that has ended: its timer will never fire
            self._loop = loop
            loop.call_later(TOGETHER, self._commit)
        insert = _Insert(statement, row, loop.create_future())
        self._inserts.append(insert)
        try:
            return await insert.new
        except asyncio.CancelledError:
            self._commit()
            raise

    def _commit(self) -> StoreError | None:
        """Commits what waits and wakes its callers. Returns the error if that failed; each caller raises it too.

        A full disk or a lock may pass. The rows then wait for the next commit, at the latest for that of `__exit__`,
        because they were paid for. A row that is itself at fault does not wait: it would break every later commit.
        """
        self._loop = None
        inserts, self._inserts = self._inserts, []
        if not inserts:
            return None
        try:
            with self.transaction() as db:
                new = [db.execute(each.statement, each.row).rowcount > 0 for each in inserts]
        except StoreError as fault:
            if isinstance(fault.__cause__, sqlite3.OperationalError):
                self._inserts = list(inserts)
            for each in inserts:
                if not each.given_up:
                    each.new.set_exception(fault)
            return fault
        for each, is_new in zip(inserts, new, strict=True):
            if not each.given_up:
                each.new.set_result(is_new)
        return None


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turns every failure of the file into a StoreError."""
    try:
        yield
    except (sqlite3.Error, OSError, ValueError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the other bits only tell variants apart
        advice = ADVICE.get(code, "mend the file or use another")
        why = str(error)
        if isinstance(error, OSError):
            why, advice = error.strerror or why, ADVICE[sqlite3.SQLITE_CANTOPEN]
        raise StoreError(f"the record {path} can't be used: {shorten(why, 200)}; {advice}") from error


def opened_to_read(path: Path) -> sqlite3.Connection:
    """The file at `path`, which must be there. Readers create nothing and change nothing.

    SQLite reads a file with a write-ahead log through an index of the log, and makes that index if it is missing. If
    the folder is read-only and holds no log, the file alone is read.
    """
    if not path.is_file():
        raise StoreError(f"there is no record {path}; give the path of one, or make one with `matrix-align simulate`")
    log = path.with_name(f"{path.name}-wal")
    address = f"{path.resolve().as_uri()}?mode=ro"
    db = sqlite3.connect(address, uri=True, timeout=30, isolation_level=None)
    try:
        db.execute("SELECT 1 FROM sqlite_master LIMIT 1")
        return db
    except sqlite3.OperationalError as error:
        db.close()
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
        if log.exists() and log.stat().st_size:
            raise StoreError(
                f"{path} can't be read alone: its latest rows are in {log.name}, and the folder is read-only; "
                "copy both to a folder that you can write to"
            ) from error
    except BaseException:
        db.close()
        raise
    return sqlite3.connect(f"{address}&immutable=1", uri=True, isolation_level=None)


def _opened_to_write(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        _use_wal(db)
        db.execute("PRAGMA synchronous = NORMAL")  # survives a killed process
        db.execute("PRAGMA wal_autocheckpoint = 8000")  # pages; each waits for the disk
        return db
    except BaseException:
        db.close()
        raise


def _use_wal(db: sqlite3.Connection) -> None:
    """Turns on the write-ahead log. SQLite does not wait for other processes that do the same, so we do."""
    for attempt in range(100):
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or attempt == 99:
                raise
            time.sleep(0.05)


def has_table(db: sqlite3.Connection, name: str) -> bool:
    return bool(db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone())


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
