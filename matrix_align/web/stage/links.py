"""How a sentence of the revised response hangs together with the points of the critique.

The record does not hold it: the revision is one text, written with all points in view. What can be known is computed
here, and each link says why it is drawn. A point quotes passages of the initial response; a revised sentence that is
one of these passages, reworded, is linked to the point. So is a sentence that has words which the initial response
lacks and the point asks for. Any other sentence has no link.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import NamedTuple

from ...simulation.passages import passages
from ...simulation.types import Point, Scene

ALIKE = 0.5  # of the words: a sentence that shares more with a passage is that passage, reworded
ASKED = 2  # words that a sentence must share with what a point asks for
LONG = 5  # letters: shorter words are in any sentence


class Link(NamedTuple):
    point: int
    why: str


class Sentence(NamedTuple):
    """A sentence of the revised response. `origin` says where it comes from; `passage` is the initial one, or 0."""

    number: int
    text: str
    origin: str
    passage: int
    links: tuple[Link, ...]


def sentences(scene: Scene) -> list[Sentence]:
    """The revised response, sentence by sentence. Empty as long as there is none."""
    points = scene.critique.points if scene.critique else ()
    old = _long_words(scene.initial or "")
    found = []
    for number, text in enumerate(passages(scene.revised or ""), start=1):
        passage, share = _closest(text, scene.passages)
        if share == 1:
            found.append(Sentence(number, text, f"as passage {passage}", passage, ()))
            continue
        origin = f"passage {passage}, {share:.0%} of the words the same" if passage else "new"
        links = [_link(place, point, text, passage, old) for place, point in enumerate(points, start=1)]
        found.append(Sentence(number, text, origin, passage, tuple(filter(None, links))))
    return found


def _link(place: int, point: Point, text: str, passage: int, old: set[str]) -> Link | None:
    if passage and passage in point.quotes:
        return Link(place, f"rewords passage {passage}, which the point quotes")
    asked = sorted((_long_words(text) & _long_words(f"{point.change} {point.problem}")) - old)
    if len(asked) >= ASKED:
        return Link(place, "has new words that the point has too: " + ", ".join(asked))
    return None


def _closest(text: str, initial: tuple[str, ...]) -> tuple[int, float]:
    """The number of the passage that has most words in common with `text`, and their share; (0, 0) if too few."""
    words = _words(text)
    shares = [SequenceMatcher(None, _words(passage), words, autojunk=False).ratio() for passage in initial]
    if not shares or max(shares) < ALIKE:
        return 0, 0.0
    return shares.index(max(shares)) + 1, max(shares)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold()) or [text]


def _long_words(text: str) -> set[str]:
    return {word for word in _words(text) if len(word) >= LONG}
