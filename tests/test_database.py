"""The record's file: opening it, bringing it up to date, refusing it, and sharing it between processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from matrix_align import store as store_module
from matrix_align.errors import StoreError
from matrix_align.llm.model import Scripted
from matrix_align.llm.recorded import Recorded
from matrix_align.store import MIGRATIONS, Store, default_path
from matrix_align.types import Usage

from .records import ASKED, SAMPLING, answer, change, rows


def test_migrations_are_applied_once_and_by_name(path: Path) -> None:
    with Store(path) as store:
        store.save(answer())
    applied = rows(path, "SELECT name, at FROM migrations ORDER BY name")
    assert [name for name, _ in applied] == sorted(MIGRATIONS)
    with Store(path) as store:
        assert store.answer("a" * 16)
    assert rows(path, "SELECT name, at FROM migrations ORDER BY name") == applied


async def test_older_store_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(store_module, "MIGRATIONS", dict(list(MIGRATIONS.items())[:2]))
        with Store(path) as store:
            await Recorded(Scripted("Blue."), store).ask(ASKED, str, SAMPLING)
    assert len(rows(path, "SELECT name FROM migrations")) == 2
    with Store(path) as store:
        store.save(answer())
        assert (await Recorded(Scripted(), store).ask(ASKED, str, SAMPLING)).recorded
    assert len(rows(path, "SELECT name FROM migrations")) == len(MIGRATIONS)


def test_migration_that_fails_leaves_no_half_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).__exit__()
    before = rows(path, "SELECT name FROM sqlite_master")
    with monkeypatch.context() as broken:
        bad = {"0098_good": "CREATE TABLE half (a)", "0099_bad": "CREATE NONSENSE"}
        broken.setattr(store_module, "MIGRATIONS", MIGRATIONS | bad)
        with pytest.raises(StoreError):
            Store(path)
    assert rows(path, "SELECT name FROM sqlite_master") == before
    Store(path).__exit__()


def refused(path: Path | str) -> str:
    with pytest.raises(StoreError) as caught:
        Store(path)
    told = str(caught.value)
    assert str(path) in told and "use another" in told and "\n" not in told
    assert caught.value.exit_code == 2
    return told


def test_store_of_a_newer_version(path: Path) -> None:
    with Store(path) as store:
        store.save(answer())
    change(path, "INSERT INTO migrations VALUES ('9999_from_the_future', 'now')")
    before = path.read_bytes()
    assert "9999_from_the_future" in refused(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"How?\n" * 1000, b"\0" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_file_that_is_no_store(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(path)
    assert path.read_bytes() == content, "whatever it is, it is somebody's"


def test_store_that_is_corrupt(path: Path) -> None:
    with Store(path) as store:
        for number in range(100):
            store.save(answer(f"{number:016}"))
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * 3000 + whole[3100:])
    refused(path)
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(StoreError) as caught, Store(path) as store:
        store.answer("0000000000000007")
    assert "\n" not in str(caught.value)


def test_no_store_can_be_where_it_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    refused(file / "scenes.db")
    refused(file / "folder" / "scenes.db")
    refused(tmp_path)  # a folder


def test_folders_are_made(tmp_path: Path) -> None:
    with Store(tmp_path / "new" / "newer" / "scenes.db") as store:
        store.save(answer())


def test_default_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIX_ALIGN_STORE", "/there/own.db")
    assert default_path() == Path("/there/own.db")
    monkeypatch.delenv("MATRIX_ALIGN_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", "/there")
    assert default_path() == Path("/there/matrix-align/scenes.db")


def test_new_store_is_waited_for(path: Path) -> None:
    """SQLite itself does not wait while a file becomes WAL. Two first runs, started together, meet there."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ending = threading.Timer(0.3, other.execute, ["COMMIT"])
    ending.start()
    try:
        with Store(path) as store:
            store.save(answer())
    finally:
        ending.join()
        other.close()


def write(path: Path, name: str) -> None:
    async def ask() -> None:
        with Store(path) as store:
            model = Recorded(Scripted(*map(str, range(50)), name=name), store)
            for seed in range(50):
                await model.ask(ASKED, str, SAMPLING.model_copy(update={"seed": seed}))
                store.save(answer(name, error=str(seed)))

    asyncio.run(ask())


def test_several_processes_write_at_once(path: Path, store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write, args=(path, name)) for name in ("a", "b", "c")]
    for each in writers:
        each.start()
    write(path, "d")
    for each in writers:
        each.join(60)
    assert [each.exitcode for each in writers] == [0, 0, 0]
    assert rows(path, "SELECT model, count(*) FROM calls GROUP BY model") == [(name, 50) for name in "abcd"]
    assert sorted(row.id for row in store.answers()) == ["a", "b", "c", "d"]
    assert [found.error for found in map(store.answer, "abcd") if found] == ["49"] * 4


def test_reader_is_not_kept_waiting_by_a_writer(path: Path, store: Store) -> None:
    store.save(answer())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM answers")
    assert store.answer("a" * 16)
    other.execute("ROLLBACK")
    other.close()


def pending(store: Store, number: int, text: str = "Blue.") -> Coroutine[Any, Any, bool]:
    return store.add_call(str(number), "m", "{}", text, "", "", Usage())


def keys(path: Path) -> list[str]:
    """The keys of the calls that another program finds in the file."""
    return [key for (key,) in rows(path, "SELECT key FROM calls ORDER BY key")]


def test_one_event_loop_after_another(path: Path) -> None:
    """It also works if the first loop stops while a call waits for its commit."""
    stopped = asyncio.new_event_loop()
    with Store(path) as store:
        asyncio.run(pending(store, 1))
        waiting = stopped.create_task(pending(store, 2))
        stopped.run_until_complete(asyncio.sleep(0))
        asyncio.run(asyncio.wait_for(pending(store, 3), 20))
        assert keys(path) == ["1", "2", "3"]
        assert stopped.run_until_complete(waiting)
        assert stopped.run_until_complete(pending(store, 4))
    stopped.close()


def test_event_loop_is_closed_while_calls_wait(path: Path) -> None:
    with Store(path) as store:
        for number in range(2):
            closed = asyncio.new_event_loop()
            waiting = closed.create_task(pending(store, number))
            closed.run_until_complete(asyncio.sleep(0))
            closed.close()
            waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # that it is left is the point
            del waiting
    assert keys(path) == ["0", "1"], "closing the record writes what is left"


def test_cancelled_with_its_event_loop(path: Path) -> None:
    """asyncio.run cancels the tasks that are left. The next run finds their calls."""

    async def leave(store: Store) -> None:
        leave.task = asyncio.create_task(pending(store, 1))  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    with Store(path) as store:
        asyncio.run(leave(store))
        assert store.call("1")
        assert not asyncio.run(asyncio.wait_for(pending(store, 1), 20)), "it is there already"


async def test_cancelled_caller_loses_no_call_and_keeps_nobody_waiting(path: Path, store: Store) -> None:
    callers = [asyncio.create_task(pending(store, number)) for number in range(10, 30)]
    await asyncio.sleep(0)
    for caller in callers[:16]:
        caller.cancel()
    await asyncio.wait(callers[:16])
    assert keys(path) == [str(number) for number in range(10, 30)], "committed before the first of them is gone"
    assert await asyncio.gather(*callers[16:]) == [True] * 4
    assert await pending(store, 30)


async def test_full_disk_is_said_and_nothing_that_was_paid_is_dropped(path: Path) -> None:
    """A limit of SQLite's stands in for the disk. It fails in the same way."""
    with Store(path) as store:
        store._db.execute("PRAGMA max_page_count = 20")
        callers = [asyncio.create_task(pending(store, number, "x" * 40_000)) for number in range(4)]
        await asyncio.sleep(0)
        callers[0].cancel()
        done = await asyncio.gather(*callers, return_exceptions=True)
        assert [type(each) for each in done] == [asyncio.CancelledError, StoreError, StoreError, StoreError]
        assert "full" in str(done[1]) and "free some space" in str(done[1])
        assert keys(path) == []
        store._db.execute("PRAGMA max_page_count = 2000")
        assert await pending(store, 9)
    assert keys(path) == ["0", "1", "2", "3", "9"], "with the cancelled caller's, and those that were told"


async def test_lock_of_another_program_costs_no_call(path: Path) -> None:
    """The callers get an error. The calls they paid for are written when the record is closed."""
    with Store(path) as store:
        store._db.execute("PRAGMA busy_timeout = 10")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process is writing"):
            await pending(store, 1)
        other.execute("ROLLBACK")
        other.close()
    assert keys(path) == ["1"]


async def test_row_that_no_database_takes_breaks_no_other(path: Path) -> None:
    with Store(path) as store:
        faulty = asyncio.create_task(store.insert("INSERT INTO failures (key) VALUES (?)", ("\udcff",)))
        await asyncio.sleep(0)
        faulty.cancel()
        await asyncio.wait([faulty])
        assert await pending(store, 1)
    assert keys(path) == ["1"]


async def test_what_can_not_be_written_at_the_end_is_said(path: Path) -> None:
    with pytest.raises(StoreError, match="full"), Store(path) as store:
        store._db.execute("PRAGMA max_page_count = 20")
        caller = asyncio.create_task(pending(store, 1, "x" * 200_000))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])


def test_a_record_of_version_0_1_is_refused(path: Path) -> None:
    """That version had other tables. The file stays unchanged, so no calls are lost."""
    change(path, "CREATE TABLE migrations (name TEXT PRIMARY KEY, at TEXT NOT NULL)")
    change(path, "INSERT INTO migrations VALUES ('0003_scenes', '2026')")
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreError, match=r"is a record of matrix-align 0\.1, .*; use another file"):
            Store(path, read_only=read_only)
    assert rows(path, "SELECT name FROM migrations") == [("0003_scenes",)]
    assert before
