"""A record that is only read: reading takes no lock, changes nothing, and works where nothing can be written."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from matrix_align import store as store_module
from matrix_align.errors import StoreError
from matrix_align.llm.model import Scripted
from matrix_align.llm.recorded import Recorded
from matrix_align.store import MIGRATIONS, Store, holds_calls

from .conftest import Run
from .records import ASKED, SAMPLING, answer, change, rows

NOBODY = 65534
WRITER = """
import os, signal, sys
from matrix_align import Store
from tests.records import answer
store = Store(sys.argv[1])
store.save(answer("b" * 16))
print("saved", flush=True)
{then}
"""


@pytest.fixture
def shelf() -> Iterator[Path]:
    """A folder with a record that nobody can write, not even root, which gives up its rights for the test."""
    if sys.platform == "win32":
        pytest.skip("a folder's mode means nothing here")
    folder = Path(tempfile.mkdtemp(prefix="shelf-"))
    with Store(folder / "scenes.db") as store:
        store.save(answer())
        store.answer("a" * 16)  # what is imported on first use is imported
    user, group = os.geteuid(), os.getegid()
    folder.chmod(0o555)
    if user == 0:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        os.seteuid(user)
        os.setegid(group)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_folder_that_can_not_be_written(shelf: Path) -> None:
    with Store(shelf / "scenes.db", read_only=True) as store:
        assert [row.id for row in store.answers()] == ["a" * 16]
        assert store.answer("a")
    assert not holds_calls(shelf / "scenes.db")
    assert os.listdir(shelf) == ["scenes.db"]
    with pytest.raises(StoreError, match=r"(readonly|unable to open).*; allow .*writing"):
        Store(shelf / "scenes.db")
    for new in ("new.db", "new/scenes.db"):
        with pytest.raises(
            StoreError, match=r"; allow reading and writing it and its folder, or use another$"
        ) as caught:
            Store(shelf / new)
        assert "Errno" not in str(caught.value)


def test_log_that_can_not_be_read_is_not_passed_over(shelf: Path) -> None:
    """Without the log, the newest rows would be missing, and nobody would know."""
    user = os.geteuid()
    os.seteuid(os.getuid())
    log = shelf / "scenes.db-wal"
    shelf.chmod(0o755)
    log.write_bytes(b"newer rows")
    shelf.chmod(0o555)
    os.seteuid(user)
    with pytest.raises(StoreError, match=r"its latest rows are in scenes\.db-wal"):
        Store(shelf / "scenes.db", read_only=True)


def test_nothing_is_made_by_looking(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no record"):
        Store(path.parent / "new" / "scenes.db", read_only=True)
    assert not holds_calls(path)
    assert list(path.parent.iterdir()) == []


def test_writer_at_work(path: Path, store: Store) -> None:
    """The writer is in the middle of a transaction and holds the write lock."""
    store.save(answer())
    with store.transaction() as db:
        db.execute("DELETE FROM answers")
        with Store(path, read_only=True) as reading:
            assert reading.answer("a" * 16)
    with Store(path, read_only=True) as reading:
        assert reading.answers() == []
        store.save(answer("c" * 16))
        assert [row.id for row in reading.answers()] == ["c" * 16], "and what is written later is seen"


def test_reading_changes_nothing(path: Path) -> None:
    with Store(path) as store:
        store.save(answer())
    before = path.read_bytes(), path.stat().st_mtime_ns
    with Store(path, read_only=True) as reading:
        with pytest.raises(StoreError, match="readonly"):
            reading.save(answer("b"))
        with pytest.raises(StoreError, match="readonly"):
            reading.forget_overflows()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.mark.skipif(sys.platform == "win32", reason="kills itself by a signal")
def test_what_a_killed_writer_has_committed_is_read(path: Path) -> None:
    code = WRITER.format(then="os.kill(os.getpid(), signal.SIGKILL)")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Store(path, read_only=True) as reading:
        assert reading.answer("b" * 16)


def test_older_record_is_refused_in_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(store_module, "MIGRATIONS", dict(list(MIGRATIONS.items())[:-1]))
        Store(path).__exit__()
    before = rows(path, "SELECT name FROM migrations")
    with pytest.raises(StoreError) as caught:
        Store(path, read_only=True)
    assert max(MIGRATIONS) in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert rows(path, "SELECT name FROM migrations") == before


def test_newer_record_is_refused(path: Path) -> None:
    Store(path).__exit__()
    change(path, "INSERT INTO migrations VALUES ('9999_from_the_future', 'now')")
    with pytest.raises(StoreError, match="newer matrix-align"):
        Store(path, read_only=True)


@pytest.mark.parametrize("content", [b"How?\n" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_file_that_is_no_record(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for read in (lambda: Store(path, read_only=True), lambda: holds_calls(path)):
        with pytest.raises(StoreError, match="use another"):
            read()
    assert path.read_bytes() == content


async def test_holds_calls(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works for a record of any version, so that an older one is not taken for empty."""
    sqlite3.connect(path).close()  # as where a process was killed when it had just made the file
    assert not holds_calls(path)
    with monkeypatch.context() as older:
        older.setattr(store_module, "MIGRATIONS", dict(list(MIGRATIONS.items())[:2]))
        with Store(path) as store:
            assert not holds_calls(path)
            await Recorded(Scripted("Blue."), store).ask(ASKED, str, SAMPLING)
            assert holds_calls(path)
    change(path, "INSERT INTO migrations VALUES ('9999_from_the_future', 'now')")
    assert holds_calls(path)


def test_scenes_are_listed_while_a_writer_is_at_work(path: Path, store: Store, cli: Run) -> None:
    store.save(answer())
    with store.transaction() as db:
        db.execute("DELETE FROM answers")
        listed = cli("scenes", "--store", str(path))
        shown = cli("scenes", "show", "aaaa", "--store", str(path))
    assert (listed.returncode, shown.returncode) == (0, 0), listed.stderr + shown.stderr
    assert "a" * 16 in listed.stdout
