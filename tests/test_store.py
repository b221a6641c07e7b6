"""The scenes of the record: the same when they are read as when they were written, and found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_align.errors import StoreError
from matrix_align.llm.model import Scripted
from matrix_align.llm.recorded import Recorded
from matrix_align.simulation import types
from matrix_align.simulation.types import Ending, Scene
from matrix_align.store import Store
from matrix_align.types import Call, Message, Question, Settings, Usage, clean

from .records import ASKED, SAMPLING, change, scene

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
