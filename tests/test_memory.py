"""What a memory holds: as much of the past as fits, the newest in full."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_align import Endpoint
from matrix_align.simulation.memory import Told, moved, observed, observed_briefly, recall, ruled, ruled_briefly
from matrix_align.simulation.types import Event, Move, Verdict

from .fake import FakeServer
from .staged import reactions_asked, staged

WORDS = st.lists(st.sampled_from(["pays", "the", "bank", "and", "asks", "Äpfel"]), min_size=1, max_size=20)
PHRASES = WORDS.map(" ".join)
VERDICTS = st.builds(
    lambda feasible, outcome, harm: Verdict(
        feasible=feasible, outcome=outcome, observers=("Bank",), harm=harm, ending="goes on"
    ),
    st.booleans(),
    PHRASES,
    st.just("") | PHRASES,
)
HISTORIES = st.lists(st.tuples(st.sampled_from(["Ann", "Guard"]), PHRASES, VERDICTS), max_size=60).map(
    lambda moves: [
        Event(step=1, actor=actor, action=action, number=number, verdict=verdict)
        for number, (actor, action, verdict) in enumerate(moves, start=1)
    ]
)


READERS = st.sampled_from([(observed, observed_briefly), (ruled, ruled_briefly)])


@settings(max_examples=200, deadline=None)
@given(HISTORIES, st.integers(0, 8000), READERS)
def test_recall_is_bounded_and_in_order(events: list[Event], limit: int, reader: tuple[Told, Told]) -> None:
    """Within the limit, the newest event is last and in full. The others are in order, without gaps."""
    text = recall(events, limit, *reader)
    if not events:
        assert text == "(nothing yet)"
        return
    newest = reader[0](events[-1])
    assert len(text) <= limit or text == newest
    assert text.splitlines()[-1] == newest
    numbers = [int(number) for number in re.findall(r"^\[(\d+)\]", text, re.MULTILINE)]
    assert numbers == list(range(numbers[0], len(events) + 1))
    if left_out := re.match(r"\((\d+) earlier events\)", text):
        assert numbers[0] == int(left_out.group(1)) + 1
    else:
        assert numbers[0] == 1 or len(newest) + 30 > limit, "what is left out is counted"


@settings(max_examples=100, deadline=None)
@given(HISTORIES, st.integers(6000, 8000), READERS)
def test_recall_only_grows_while_there_is_room(events: list[Event], limit: int, reader: tuple[Told, Told]) -> None:
    """A new event is a new line after the same text, until it would not fit. So the server's prefix cache holds."""
    for count in range(1, len(events)):
        before, added = recall(events[:count], limit, *reader), reader[0](events[count])
        if len(before) + len(added) + 2 <= limit:
            assert recall(events[: count + 1], limit, *reader) == f"{before}\n{added}"


def test_recall_shrinks_by_blocks() -> None:
    """In a long scene with a full memory, most new events leave the text before them unchanged."""
    verdict = Verdict(feasible=True, outcome="o" * 110, observers=(), harm="", ending="goes on")
    events = [Event(step=1, actor="Ann", action="a" * 110, number=n, verdict=verdict) for n in range(1, 201)]
    texts = [recall(events[:count], 6000, observed, observed_briefly) for count in range(1, 201)]
    changed = sum(not after.startswith(before) for before, after in itertools.pairwise(texts))
    assert 0 < changed < len(events) / 2
    assert re.match(r"\(\d+ earlier events\)", texts[-1])


async def test_memory_is_bounded_in_the_scene(server: FakeServer, model: Endpoint) -> None:
    """A role that has seen more than fits is asked with the newest events and a bounded prompt."""
    long = "and then " * 12
    names = ("Guard", "Bank", "Door", "Phone", "Friend", "Baker")
    steps = [f"Ann walks to house {n} {long}" for n in range(1, 9)]
    reacts = {name: f"{name} talks {long}" for name in names}
    rulings = {"then": {"outcome": f"Everybody hears {long}"}}
    _, scene = await staged(server, model, *steps, names=names, reacts=reacts, rulings=rulings, memory=6000)
    assert sum(len(observed(event)) for event in scene.observed_by("Guard")) > 10_000, "more has happened than fits"
    last = reactions_asked(server, "Guard")[-1]
    assert "house 8" in last
    assert len(last) < 9_000


@pytest.mark.parametrize(
    ("actor", "action", "line"),
    [
        ("Ann", "Ann writes.", "Ann writes."),
        ("Ann", "Anna gets a letter.", "Ann: Anna gets a letter."),
        ("Ann", "Writes a letter.", "Ann: Writes a letter."),
        ("安", "安写信。", "安写信。"),
    ],
)
def test_a_move_says_who_makes_it(actor: str, action: str, line: str) -> None:
    """A name that only begins like the actor's is somebody else's."""
    assert moved(Move(step=1, actor=actor, action=action)) == line
