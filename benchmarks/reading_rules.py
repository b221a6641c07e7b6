"""Marks that need no reader: what can be told of a scene by rule.

Each rule answers "yes" (good), "no" or "none" (there is nothing to mark). A part that is missing has no mark.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from .reading_scenes import Played, Point

ANSWERER = re.compile(r"\b(?:you|your|yours|(?:the|this) (?:initial )?(?:answer|response|reply))\b", re.IGNORECASE)
# "NAME should …" tells a character what to do.
TOLD = r"\b{name}(?:'s)?\s+(?:should|must|needs? to|ought to|could|can|has to|have to|may)\b"
# Words about how an answer was made. They are no leak if the question or the initial answer has them.
MADE = re.compile(
    r"\b(?:critique|modulator|the ego|(?:the|social|this) scene|aftermath|events? \[?\d|incidents? \[?\d"
    r"|(?:initial|original|previous|revised) (?:answer|response))\b|\[\d+\]",
    re.IGNORECASE,
)
ABOUT_ITSELF = re.compile(
    r"\W*(?:the|this|your) (?:\w+ )?(?:answer|response)\W+(?:should|could|must|does|is|was)\b", re.I
)
COPIED = 5  # words in a row that count as copied
MOSTLY = 0.5  # the share of copied words from which on a text is a copy


def ruled(scene: Played) -> dict[str, str]:
    """The marks of all rules, by name."""
    marks = {}
    if scene.steps and scene.ego:
        first = scene.ego.split()[0].casefold()
        marks["plan_names_ego"] = _yes(all(step.act.strip().casefold().startswith(first) for step in scene.steps))
    if scene.events:
        known = set(scene.parties)
        marks["observers_known"] = _yes(all(set(event.observers) <= known - {event.actor} for event in scene.events))
    if scene.points is not None:
        marks["critique_rule"] = _yes(all(_to_the_answerer(point, scene) for point in scene.points))
        if not scene.points:
            marks["critique_rule"] = "none"
    if scene.revised is not None:
        marks["revised_is_no_critique"] = _yes(not _is_critique(scene.revised, scene))
        marks["names_no_character"] = _yes(not leaked_names(scene))
        marks["tells_nothing_of_the_scene"] = _yes(not leaked_words(scene))
        marks["revised_whole"] = _yes(not scene.revised_cut)
    return marks


def _yes(good: bool) -> str:
    return "yes" if good else "no"


def _to_the_answerer(point: Point, scene: Played) -> bool:
    """Whether the point speaks to the answerer or of the answer, and tells no character what to do."""
    names = {name for party in scene.parties for name in (party, party.split()[0]) if party and name[:1].isupper()}
    advises = any(
        point.change.startswith(f"{name} ") or re.search(TOLD.format(name=re.escape(name)), point.change)
        for name in names
    )
    return bool(ANSWERER.search(f"{point.problem} {point.change}")) and not advises


def _is_critique(revised: str, scene: Played) -> bool:
    """Whether the revised answer speaks of itself, or most of its words are copied from the critique."""
    if ABOUT_ITSELF.match(revised):
        return True
    critique = [word for point in scene.points or () for word in _words(f"{point.problem} {point.change}")]
    words = _words(revised)
    blocks = SequenceMatcher(None, words, critique, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= COPIED) >= MOSTLY * max(len(words), 1)


def leaked_names(scene: Played) -> set[str]:
    """Names of persons of the scene in the revised answer, where the question and the initial answer lack them.

    A word that the revised answer also writes small is no name: "Mother" at the head of a sentence.
    """
    persons = [scene.ego, *(role.name for role in scene.roles if role.kind == "person")]
    given = set(_words(f"{scene.question} {scene.initial or ''}"))
    written = set(re.findall(r"\w+", scene.revised or ""))
    names = {word for person in persons for word in re.findall(r"\w+", person) if word[:1].isupper() and len(word) > 1}
    return {name for name in names & written if name.casefold() not in given and name.casefold() not in written}


def leaked_words(scene: Played) -> set[str]:
    """Words about the scene in the revised answer, where the question and the initial answer lack them."""
    given = f"{scene.question} {scene.initial or ''}".casefold()
    return {word for word in map(str.casefold, MADE.findall(scene.revised or "")) if word not in given}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
