"""The record's answers: they read back as they were written, and are found again."""

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
from matrix_align.simulation.types import Scene, Settings
from matrix_align.store import Store
from matrix_align.types import Answer, Call, Message, Question, Sampling, Usage, clean

from .records import ASKED, SAMPLING, answer, change

line = st.text(min_size=1, max_size=30).filter(lambda text: bool(clean(text).split()))
usages = st.builds(Usage, prompt_tokens=st.integers(0), seconds=st.floats(0, 1e6), requests=st.integers(0, 3))


def some(each: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(each, min_size=least, max_size=3).map(tuple)


@st.composite
def scenes(draw: st.DrawFn, question: Question) -> Scene:
    """A scene played up to any point."""
    verdict = st.builds(types.Verdict, outcome=line, harm=st.text(), observers=some(st.text()))
    events = []
    for number in range(1, draw(st.integers(0, 4)) + 1):
        because = tuple(draw(st.sets(st.integers(1, number - 1)))) if number > 1 else ()
        texts = {name: draw(st.text()) for name in ("action", "when", "words")}
        move = types.Move(step=1, actor=draw(line), because=because, **texts)
        events.append(types.Event(**move.model_dump(), number=number, verdict=draw(verdict)))
    role = st.builds(types.Role, name=line, traits=line, duty=line, stake=line)
    numbers, passages = some(st.integers(1, max(len(events), 1))), some(st.integers(1, 9))
    step = st.builds(types.Step, when=line, act=line, words=passages)
    fate = st.builds(types.Fate, who=st.text(), later=line)
    point = st.builds(types.Point, incidents=numbers, quotes=passages, problem=line, change=line)
    critique = st.builds(types.Critique, points=some(point))
    aftermath = st.builds(
        types.Aftermath, consequences=line, fates=some(fate, least=1), found_out=line, missing=st.text()
    )
    parts: dict[str, st.SearchStrategy[Any]] = {
        "initial": st.text(),
        "situation": st.builds(types.Situation, **dict.fromkeys(types.Situation.model_fields, line)),
        "cast": st.builds(types.Cast, roles=some(role, least=1)),
        "plan": st.builds(types.Plan, steps=some(step, least=1)),
        "ending": st.builds(types.Ending),
        "aftermath": aftermath,
        "critique": critique if events else st.none(),
        "revised": st.text(),
    }
    return Scene(
        question=question,
        settings=draw(st.builds(Settings)),
        events=tuple(events),
        **{name: draw(st.none() | part) for name, part in parts.items()},
    )


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """An answer of matrix or of another method, made up to any point."""
    turn = st.builds(Message, role=st.just("user"), content=st.text())
    question = draw(st.builds(Question, text=line, history=some(turn), system=st.none() | st.text()))
    call = st.builds(Call, usage=usages, key=st.none() | st.text())
    return Answer(
        id=draw(st.text("0123456789abcdef", min_size=16, max_size=16)),
        method=draw(st.text()),
        model=draw(st.text()),
        digest=draw(st.text()),
        question=question,
        settings=draw(st.dictionaries(st.text(), st.integers() | st.text())),
        sampling=draw(st.builds(Sampling, seed=st.integers(0, 2**63 - 1), temperature=st.floats(0, 2))),
        scene=draw(st.none() | scenes(question)),
        calls=draw(some(call)),
        ending=draw(st.text()),
        **{name: draw(st.none() | st.text()) for name in ("initial", "text", "error")},
    )


@given(made=answers())
@settings(max_examples=60, deadline=None)
def test_answer_is_the_same_once_it_is_saved(made: Answer) -> None:
    with Store(":memory:") as store:
        store.save(made)
        found = store.answer(made.id)
        (row,) = store.answers()
    assert found
    assert found.evolve(scene=None) == made.evolve(scene=None)
    if made.scene:
        assert (scene := Scene.of(found)) == made.scene
        assert scene.references == Scene.of(made).references
    assert (found.usage, found.depth, found.state) == (made.usage, made.depth, made.state)
    assert (row.id, row.method, row.model, row.calls) == (made.id, made.method, made.model, len(made.calls))


def test_later_state_takes_the_place_of_the_earlier(store: Store) -> None:
    begun = answer()
    ended = begun.evolve(ending="stopped", text="Ask.")
    states = []
    for each in (begun, begun.evolve(error="Overloaded: busy"), ended):
        store.save(each)
        states += [row.state for row in store.answers()]
        assert store.answer(each.id) == each
    assert states == ["unfinished", "failed", "stopped"]
    store.save(begun)  # played again: what was whole stays so until it is whole again
    assert store.answer(begun.id) == ended
    one = Call(kind="text", who="", step=0, depth=1, usage=Usage())
    more = answer("b" * 16, calls=(one, one))
    for each in (more, answer("b" * 16, calls=(one,))):  # two processes play it
        store.save(each)
    assert store.answer(more.id) == more


def test_newest_answers_come_first(path: Path, store: Store) -> None:
    for number in range(30):
        store.save(answer(f"{number:016}", question=Question(text="How? " * 100)))
        change(path, "UPDATE answers SET at = ? WHERE id = ?", f"2030-01-{number + 1:02}", f"{number:016}")
    assert [int(row.id) for row in store.answers()] == list(range(29, 9, -1))
    assert [int(row.id) for row in store.answers(2)] == [29, 28]
    assert len(store.answers()[0].question) == 200, "the list stays light"


def test_answers_of_one_moment_come_newest_first(path: Path, store: Store) -> None:
    for id in ("b", "c", "a"):
        store.save(answer(id))
    change(path, "UPDATE answers SET at = 'now'")
    assert [row.id for row in store.answers()] == ["a", "c", "b"]


def test_answer_is_found_by_how_its_id_begins(store: Store) -> None:
    for id in ("abcd", "abef", "ab", "x%y", "x_z", "É1", "'; --"):
        store.save(answer(id))
    wanted = {"abcd": "abcd", "abc": "abcd", "abe": "abef", "x%": "x%y", "x_": "x_z", "É": "É1", "'": "'; --"}
    wanted |= {"ab": "ab"}  # whole, though others begin so
    none = ["a", "x", "", "%", "_", "*", "?", "ABCD", "abcde", "bcd", "\0", "\udcff", "x' OR '1'='1"]
    for begun, id in wanted.items():
        found = store.answer(begun)
        assert found
        assert found.id == id
    assert [store.answer(begun) for begun in none] == [None] * len(none)


def test_text_that_no_database_takes_is_cleaned_on_the_way(store: Store) -> None:
    """The command line and files of questions can hold any of it."""
    asked = Question(text="How \ud800?", system="Be \ud800 kind.", history=(Message(role="user", content="\udc00"),))
    store.save(answer(question=asked))
    found = store.answer("a" * 16)
    assert found
    assert found.question == asked


async def test_rows_that_are_not_ours_are_a_store_error(path: Path, store: Store) -> None:
    """They were changed by hand, or written by a version whose answers had other parts."""
    store.save(answer())
    reply = await Recorded(Scripted("Blue."), store).ask(ASKED, str, SAMPLING)
    assert reply.key
    for nonsense in ("{}", "{", "null"):
        change(path, "UPDATE answers SET answer = ?", nonsense)
        change(path, "UPDATE calls SET usage = ?, request = ?", "[" + nonsense, "[" + nonsense)
        for read, known in ((store.answer, "a" * 16), (store.call, reply.key)):
            with pytest.raises(StoreError, match=str(path)):
                read(known)
