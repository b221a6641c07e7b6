"""The two ends of a scene: the initial response, and the revised response.

Both are plain answers to the user. The revised response must not mention the scene or the critique.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from pydantic import field_validator

from ..llm.caller import Request
from ..llm.structured import Prose
from ..types import Message, Question, shorten
from .examples import examples
from .prompts import PROMPTS
from .types import CITED, Scene, Settings

# Words that show that an answer was rewritten. An ordinary word such as "scene" may belong to the question itself.
# "What this answer could lead to" stands in the prompt before the critique, which a small model may copy.
MATTERS = (
    *("critique", "social scene", "this answer could lead to"),
    *(f"{which} answer" for which in ("initial", "original", "previous", "revised", "rewritten")),
    *(f"{which} response" for which in ("initial", "original", "previous", "revised", "rewritten")),
)
PHRASES = (
    "social scene",
    *(f"{word} {matter}" for word in ("the", "this", "that", "my", "your", "what") for matter in MATTERS),
)
MATTER = re.compile("|".join(MATTERS), re.IGNORECASE)
LEAKS = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b", re.IGNORECASE)
LONGEST = max(map(len, PHRASES))
# Small models often write a prompt's tags around their answer, and other methods have other tags.
TAGS = re.compile(r"</?(?:analysis|answer|criticism|effects|fault|feedback|principle|question)>", re.IGNORECASE)

BEFORE_A_STOP = re.compile(rf"[,;:](?:{CITED.pattern})+(?=\s*[.,;:!?])")  # a citation with a comma that only led to it

QUOTED = 200  # characters of the answer that a point quotes; in a full scene, of each passage that it quotes


def respond(question: Question) -> Request[str]:
    """The request for the initial response: the question as it is."""
    return Request("initial", str, lambda _: question.messages())


def revise(scene: Scene) -> Request[Prose]:
    """The request for the revised response of a scene."""
    return revision(scene.question, scene.initial or "", _effects(scene), scene.settings)


def revision(question: Question, initial: str, effects: Iterable[str], settings: Settings) -> Request[Prose]:
    """The request for a revised response, in the same conversation as the initial one.

    `effects` are lines: the consequences of the initial response, then what to change (see `change`).
    """
    asked = question.messages()
    start = 1 if question.system else 0
    shown = [
        turn
        for example in examples(settings)
        if example.critique and example.critique.points
        for turn in _shown(example)
    ]
    chat = [*asked[:start], *shown, *asked[start:-1], _task(question, initial, effects)]
    return Request("revision", revised(question, initial), lambda _: chat, answers=True)


def change(scene: Scene, quotes: tuple[int, ...], problem: str, better: str) -> str:
    """One thing to change in the initial response, as a line of the effects. `quotes` are passages that led there."""
    brief = scene.settings.brief
    words = shorten(scene.quoted(quotes), QUOTED) if brief else scene.quoted(quotes, QUOTED)
    quotation = f'"{words}" ' if words else ""  # a point about what the answer left out may quote nothing
    return f"- {quotation}{problem} Better: {better}"


def uncited(text: str) -> str:
    """A text without the numbers of the events that it cites: "at last, [8]." becomes "at last."."""
    return CITED.sub("", BEFORE_A_STOP.sub("", text))


def revised(question: Question, *earlier: str) -> type[Prose]:
    """The type of a rewritten answer: text that does not mention how it was made, without tags of a prompt.

    A phrase that the user or an `earlier` answer already used is not a leak, whatever article comes before it.
    """
    conversation = " ".join([*(message.content for message in question.messages()), *earlier])
    return _revision_without(frozenset(phrase.casefold() for phrase in MATTER.findall(conversation)))


def _task(question: Question, initial: str, effects: Iterable[str]) -> Message:
    """What is asked for a revised response: the question, the initial response, and what is to change in it."""
    task = PROMPTS.render("revision", question=question.text, answer=initial, effects="\n".join(effects))
    return Message(role="user", content=task)


def _effects(scene: Scene) -> Iterator[str]:
    """The consequences, then each point of the critique with the words of the answer that led there."""
    assert scene.critique
    if scene.aftermath:
        yield uncited(scene.aftermath.consequences)
    for point in scene.critique.points:
        yield change(scene, point.quotes, uncited(point.problem), uncited(point.change))


def _shown(scene: Scene) -> list[Message]:
    task = _task(scene.question, scene.initial or "", _effects(scene))
    return [task, Message(role="assistant", content=scene.revised or "")]


@lru_cache(maxsize=64)
def _revision_without(allowed: frozenset[str]) -> type[Prose]:
    def leak(text: str) -> re.Match[str] | None:
        leaks = (found for found in LEAKS.finditer(text) if MATTER.findall(found.group())[0].casefold() not in allowed)
        return next(leaks, None)

    class Revision(Prose):
        @field_validator("root", mode="before")
        @classmethod
        def _untagged(cls, text: str) -> str:
            return TAGS.sub("", text).strip()

        @field_validator("root")
        @classmethod
        def _keeps_to_the_answer(cls, text: str) -> str:
            if found := leak(text):
                raise ValueError(
                    f'"{found.group()}" mentions how the answer was made; write only the answer to the question'
                )
            return text

        @classmethod
        def so_far(cls, text: str) -> str:
            """What comes before a leak, or before words at the end that could still become one."""
            text = TAGS.sub("", text).strip()
            found = leak(text)
            return text[: found.start() if found else _may_leak(text)].rstrip()

    return Revision


def _may_leak(text: str) -> int:
    """Where the words at the end of `text` begin that a leak could begin with. Its length if there are none."""
    for start in range(max(0, len(text) - LONGEST), len(text)):
        end = text[start:].lower()
        if (not start or not text[start - 1].isalnum()) and any(phrase.startswith(end) for phrase in PHRASES):
            return start
    return len(text)
