"""The record: what was asked and paid for once is there the next time, whatever happened in between."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from matrix_align import store as store_module
from matrix_align.errors import BadReply, Overloaded, StoreError
from matrix_align.llm.endpoint import Endpoint
from matrix_align.llm.model import Scripted
from matrix_align.llm.recorded import Recorded
from matrix_align.llm.structured import Prose
from matrix_align.simulation import types
from matrix_align.simulation.types import Ending, Scene
from matrix_align.store import MIGRATIONS, Store, default_path
from matrix_align.types import Call, Message, Question, Sampling, Settings, Usage, clean

from .conftest import whole
from .fake import FakeServer, completion, error

ASKED = [Message(role="user", content="Which colour?")]
SAMPLING = Sampling(temperature=0.7, max_tokens=64, seed=3)


class Word(BaseModel):
    word: str


class TwoWords(BaseModel):
    word: str
    other: str = ""


class Long(Prose):
    """Text with a check of its own."""

    @field_validator("root")
    @classmethod
    def _long(cls, text: str) -> str:
        if len(text) < 10:
            raise ValueError("fewer than 10 characters")
        return text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scenes.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


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


calls = st.tuples(
    st.lists(st.builds(Message, role=st.sampled_from(["user", "assistant"]), content=st.text(max_size=2)), max_size=2),
    st.sampled_from([str, Word, TwoWords]),
    st.builds(Sampling, temperature=st.sampled_from([0, 0.7]), max_tokens=st.integers(1, 2), seed=st.integers(1, 2)),
)


@given(pool=st.lists(calls, min_size=1, max_size=4), order=st.lists(st.integers(0, 3), max_size=12))
@settings(max_examples=60, deadline=None)
def test_nothing_is_asked_twice_and_no_two_things_are_one(pool: list[Any], order: list[int]) -> None:
    """A call is asked the first time it comes up, and gets that reply whenever it comes up again."""

    async def check(store: Store) -> None:
        scripted = Scripted(*(f'{{"word": "w{number}"}}' for number in range(len(order))))
        model = Recorded(scripted, store)
        told: list[tuple[Any, str]] = []  # (call, reply); messages can't be keys of a dict
        for place in order:
            call = pool[place % len(pool)]
            reply = await model.ask(*call)
            before = [text for known, text in told if known == call]
            assert reply.recorded == bool(before)
            assert before in ([], [reply.text])
            if not before:
                told.append((call, reply.text))
        assert len(scripted.asked) == len(told) == len({text for _, text in told})

    with Store(":memory:") as store:
        asyncio.run(check(store))


async def test_recorded_reply_is_whole(store: Store) -> None:
    def model(*replies: Any) -> Recorded:
        return Recorded(Scripted(*replies), store)

    fresh = await model({"word": "blue"}).ask(ASKED, Word, SAMPLING)
    again = await model().ask(ASKED, Word, SAMPLING)
    assert (fresh.recorded, again.recorded) == (False, True)
    assert again.value == fresh.value == Word(word="blue")
    assert (again.text, again.usage, again.key) == (fresh.text, fresh.usage, fresh.key)
    assert fresh.key
    assert store.call("0" * 64) is None


async def test_usage_and_reasoning_are_kept(server: FakeServer, store: Store) -> None:
    server.on["text"] = lambda _: completion("<think>Sea.</think>Blue.", finish="length")
    async with Endpoint(server.url, "m") as endpoint:
        model = Recorded(endpoint, store)
        fresh, again = await model.ask(ASKED, str, SAMPLING), await model.ask(ASKED, str, SAMPLING)
    assert again.reasoning == fresh.reasoning == "Sea."
    assert again.usage == fresh.usage
    assert again.usage.prompt_tokens == 100
    assert again.cut
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [Message(role="user", content="Which colour? ")]},
        {"messages": [Message(role="system", content="Which colour?")]},
        {"messages": [*ASKED, *ASKED]},
        {"reply": Word},
        {"sampling": SAMPLING.model_copy(update={"seed": 4})},
        {"sampling": SAMPLING.model_copy(update={"temperature": 0.8})},
        {"sampling": SAMPLING.model_copy(update={"max_tokens": 65})},
        {"name": "other"},
        {"digest": "other"},
    ],
)
async def test_what_decides_a_reply_is_in_its_key(store: Store, other: dict[str, Any]) -> None:
    async def ask(told: str, **given: Any) -> Any:
        call = {"messages": ASKED, "reply": str, "sampling": SAMPLING, "name": "m", "digest": "d", **given}
        scripted = Scripted(told, name=call.pop("name"), digest=call.pop("digest"))
        return await Recorded(scripted, store).ask(*call.values())

    first = await ask('{"word": "first"}')
    second = await ask('{"word": "second"}', **other)
    assert not second.recorded
    assert "second" in second.text
    assert first.key != second.key
    assert (await ask("never asked")).text == first.text


async def test_address_is_no_part_of_the_key(server: FakeServer, store: Store) -> None:
    """An embedded server has another port each time; here, nobody is there any more."""
    for url, recorded in ((server.url, False), ("http://127.0.0.1:1/v1", True)):
        async with Endpoint(url, "m", attempts=1 + recorded, read=30 + recorded) as endpoint:
            assert (await Recorded(endpoint, store).ask(ASKED, str, SAMPLING)).recorded is recorded


async def test_call_is_committed_before_it_is_used(path: Path, store: Store) -> None:
    reply = await Recorded(Scripted("Blue."), store).ask(ASKED, str, SAMPLING)
    assert rows(path, "SELECT key, text FROM calls") == [(reply.key, "Blue.")]


async def test_failure_is_recorded_and_raised_and_asked_again(path: Path, store: Store) -> None:
    model = Recorded(Scripted(BadReply("no form", "Blu"), Overloaded("busy"), "Blue."), store)
    with pytest.raises(BadReply, match="no form"):
        await model.ask(ASKED, str, SAMPLING)
    with pytest.raises(Overloaded, match="busy"):
        await model.ask(ASKED, str, SAMPLING)
    assert (await model.ask(ASKED, str, SAMPLING)).value == "Blue."
    assert (await model.ask(ASKED, str, SAMPLING)).recorded
    told = rows(path, "SELECT error, message, reply FROM failures ORDER BY id")
    assert told == [("BadReply", "no form", "Blu"), ("Overloaded", "busy", "")]
    keys = rows(path, "SELECT key FROM failures UNION SELECT key FROM calls")
    assert len(keys) == 1


async def test_recorded_reply_that_is_no_longer_one_is_asked_for_again(store: Store) -> None:
    """All plain texts have one form on the wire; what a text must be can have changed since."""
    model = Recorded(Scripted("Blue.", "Blue, I should think."), store)
    await model.ask(ASKED, str, SAMPLING)
    longer = await model.ask(ASKED, Long, SAMPLING)
    assert (longer.recorded, longer.text) == (False, "Blue, I should think.")
    again = await model.ask(ASKED, Long, SAMPLING)
    assert (again.recorded, again.text) == (True, "Blue, I should think.")


HARD = ["Grüße, 世界 😀", "a\0b", "half \ud800 an emoji", "'); DROP TABLE calls; --", "x" * 10**6]


@pytest.mark.parametrize("text", HARD)
async def test_any_text_can_be_recorded(store: Store, text: str) -> None:
    """A model of one's own need not clean what it says, nor what its errors say."""
    model = Recorded(Scripted(text, Overloaded(text), BadReply("no", text), name=text[:50]), store)
    fresh = await model.ask(ASKED, str, SAMPLING)
    again = await model.ask(ASKED, str, SAMPLING)
    assert again.recorded
    assert again.value == fresh.value
    for kind in (Overloaded, BadReply):
        with pytest.raises(kind):
            await model.ask([], str, SAMPLING)


async def test_scene_goes_on_where_it_broke_off(server: FakeServer, store: Store) -> None:
    server.faults = [lambda _: None] * 8 + [lambda _: error(503, "busy")]
    async with Endpoint(server.url, server.name, attempts=1) as endpoint:
        with pytest.raises(Overloaded):
            await whole(Recorded(endpoint, store))
        paid = len(server.requests) - 1
        scene = await whole(Recorded(endpoint, store))
    assert scene.revised
    assert sum(call.recorded for call in scene.calls) == paid >= 8
    assert len(scene.calls) == len(server.requests) - 1


line = st.text(min_size=1, max_size=30).filter(lambda text: bool(clean(text).split()))
usages = st.builds(Usage, prompt_tokens=st.integers(0), seconds=st.floats(0, 1e6), requests=st.integers(0, 3))


def some(each: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(each, min_size=least, max_size=3).map(tuple)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """A scene as far as it may have been played."""
    verdict = st.builds(types.Verdict, reason=line, outcome=st.text(), harm=st.text(), observers=some(st.text()))
    events = []
    for number in range(1, draw(st.integers(0, 4)) + 1):
        because = tuple(draw(st.sets(st.integers(1, number - 1)))) if number > 1 else ()
        move = types.Move(step=1, actor=draw(line), action=draw(st.text()), because=because)
        events.append(types.Event(**move.model_dump(), number=number, verdict=draw(verdict)))
    role = st.builds(types.Role, name=line, traits=line, duty=line, stake=line)
    point = st.builds(types.Point, incident=st.integers(1, max(len(events), 1)), problem=line, change=line)
    turn = st.builds(Message, role=st.just("user"), content=st.text())
    call = st.builds(Call, usage=usages, key=st.none() | st.text())
    critique = st.builds(types.Critique, consequences=line, points=some(point))
    parts: dict[str, st.SearchStrategy[Any]] = {
        "initial": st.text(),
        "situation": st.builds(types.Situation, setting=line, ego=line, who=line, motive=line, goal=line),
        "cast": st.builds(types.Cast, roles=some(role, least=1)),
        "plan": st.builds(types.Plan, steps=some(line, least=1)),
        "ending": st.builds(Ending),
        "critique": critique if events else st.none(),
        "revised": st.text(),
        "error": st.text(),
    }
    return Scene(
        id=draw(st.text("0123456789abcdef", min_size=16, max_size=16)),
        model=draw(st.text()),
        question=draw(st.builds(Question, text=line, earlier=some(turn), system=st.none() | st.text())),
        settings=draw(st.builds(Settings, seed=st.integers(0, 2**63 - 1), temperature=st.floats(0, 2))),
        events=tuple(events),
        calls=draw(some(call)),
        **{name: draw(st.none() | part) for name, part in parts.items()},
    )


@given(played=scenes())
@settings(max_examples=60, deadline=None)
def test_scene_is_the_same_once_it_is_saved(played: Scene) -> None:
    with Store(":memory:") as store:
        store.save(played)
        found = store.scene(played.id)
        (row,) = store.scenes()
    assert found == played
    assert found.references == played.references
    assert (found.usage, found.depth) == (played.usage, played.depth)
    assert (row.id, row.model, row.events) == (played.id, played.model, len(played.events))


def test_later_state_takes_the_place_of_the_earlier(store: Store) -> None:
    begun = scene()
    ended = begun.having(ending=Ending(how="plan stopped", why="No."), revised="Ask.")
    states = []
    for each in (begun, begun.having(error="Overloaded: busy"), ended):
        store.save(each)
        states += [row.state for row in store.scenes()]
        assert store.scene(each.id) == each
    assert states == ["unfinished", "failed", "plan stopped"]
    store.save(begun)  # played again: what was whole stays so until it is whole again
    assert store.scene(begun.id) == ended


def test_newest_scenes_come_first(path: Path, store: Store) -> None:
    for number in range(30):
        store.save(scene(f"{number:016}", question=Question(text="How? " * 100)))
        change(path, "UPDATE scenes SET at = ? WHERE id = ?", f"2030-01-{number + 1:02}", f"{number:016}")
    assert [int(row.id) for row in store.scenes()] == list(range(29, 9, -1))
    assert [int(row.id) for row in store.scenes(2)] == [29, 28]
    assert len(store.scenes()[0].question) == 200, "the list stays light"


def test_scenes_of_one_moment_come_newest_first(path: Path, store: Store) -> None:
    for id in ("b", "c", "a"):
        store.save(scene(id))
    change(path, "UPDATE scenes SET at = 'now'")
    assert [row.id for row in store.scenes()] == ["a", "c", "b"]


def test_scene_is_found_by_how_its_id_begins(store: Store) -> None:
    for id in ("abcd", "abef", "ab", "x%y", "x_z", "É1", "'; --"):
        store.save(scene(id))
    wanted = {"abcd": "abcd", "abc": "abcd", "abe": "abef", "x%": "x%y", "x_": "x_z", "É": "É1", "'": "'; --"}
    wanted |= {"ab": "ab"}  # whole, though others begin so
    none = ["a", "x", "", "%", "_", "*", "?", "ABCD", "abcde", "bcd", "\0", "\udcff", "x' OR '1'='1"]
    for begun, id in wanted.items():
        found = store.scene(begun)
        assert found
        assert found.id == id
    assert [store.scene(begun) for begun in none] == [None] * len(none)


def test_text_that_no_database_takes_is_cleaned_on_the_way(store: Store) -> None:
    """The command line and files of questions can hold any of it."""
    asked = Question(text="How \ud800?", system="Be \ud800 kind.", earlier=(Message(role="user", content="\udc00"),))
    store.save(scene(question=asked))
    found = store.scene("a" * 16)
    assert found
    assert found.question == asked


def test_migrations_are_applied_once_and_by_name(path: Path) -> None:
    with Store(path) as store:
        store.save(scene())
    applied = rows(path, "SELECT name, at FROM migrations ORDER BY name")
    assert [name for name, _ in applied] == sorted(MIGRATIONS)
    with Store(path) as store:
        assert store.scene("a" * 16)
    assert rows(path, "SELECT name, at FROM migrations ORDER BY name") == applied


async def test_older_store_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(store_module, "MIGRATIONS", dict(list(MIGRATIONS.items())[:2]))
        with Store(path) as store:
            await Recorded(Scripted("Blue."), store).ask(ASKED, str, SAMPLING)
    assert len(rows(path, "SELECT name FROM migrations")) == 2
    with Store(path) as store:
        store.save(scene())
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
        store.save(scene())
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
            store.save(scene(f"{number:016}"))
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * 3000 + whole[3100:])
    refused(path)
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(StoreError) as caught, Store(path) as store:
        store.scene("0000000000000007")
    assert "\n" not in str(caught.value)


def test_no_store_can_be_where_it_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    refused(file / "scenes.db")
    refused(file / "folder" / "scenes.db")
    refused(tmp_path)  # a folder


def test_folders_are_made(tmp_path: Path) -> None:
    with Store(tmp_path / "new" / "newer" / "scenes.db") as store:
        store.save(scene())


async def test_rows_that_are_not_ours_are_a_store_error(path: Path, store: Store) -> None:
    """Changed by hand, or by a version whose scenes had other parts."""
    store.save(scene())
    reply = await Recorded(Scripted("Blue."), store).ask(ASKED, str, SAMPLING)
    assert reply.key
    for nonsense in ("{}", "{", "null"):
        change(path, "UPDATE scenes SET scene = ?", nonsense)
        change(path, "UPDATE calls SET usage = ?, request = ?", "[" + nonsense, "[" + nonsense)
        for read, known in ((store.scene, "a" * 16), (store.call, reply.key)):
            with pytest.raises(StoreError, match=str(path)):
                read(known)


def test_default_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIX_ALIGN_STORE", "/there/own.db")
    assert default_path() == Path("/there/own.db")
    monkeypatch.delenv("MATRIX_ALIGN_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", "/there")
    assert default_path() == Path("/there/matrix-align/scenes.db")


def test_new_store_is_waited_for(path: Path) -> None:
    """SQLite does not wait of itself where a file becomes WAL: the first two runs, started together, meet there."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ending = threading.Timer(0.3, other.execute, ["COMMIT"])
    ending.start()
    try:
        with Store(path) as store:
            store.save(scene())
    finally:
        ending.join()
        other.close()


def write(path: Path, name: str) -> None:
    async def ask() -> None:
        with Store(path) as store:
            model = Recorded(Scripted(*map(str, range(50)), name=name), store)
            for seed in range(50):
                await model.ask(ASKED, str, SAMPLING.model_copy(update={"seed": seed}))
                store.save(scene(name, error=str(seed)))

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
    assert sorted(row.id for row in store.scenes()) == ["a", "b", "c", "d"]
    assert [found.error for found in map(store.scene, "abcd") if found] == ["49"] * 4


def test_reader_is_not_kept_waiting_by_a_writer(path: Path, store: Store) -> None:
    store.save(scene())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM scenes")
    assert store.scene("a" * 16)
    other.execute("ROLLBACK")
    other.close()
