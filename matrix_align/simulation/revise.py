"""The two ends of a scene: the initial response, and the revised response.

Both are plain answers to the user. The revised response must not mention the scene or the critique.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from pydantic import create_model, field_validator

from ..llm.caller import Request
from ..llm.structured import Prose
from ..types import Message, Question, shorten
from .examples import examples
from .prompts import PROMPTS
from .types import CITED, Scene, Settings

# Words that show that an answer was rewritten. An ordinary word such as "scene" may belong to the question itself.
MATTER = re.compile(
    r"critique|social scene|this answer could lead to"
    r"|(?:initial|original|previous|revised|rewritten) (?:answer|response)",
    re.IGNORECASE,
)
# "What this answer could lead to" stands in the prompt before the critique, which a small model may copy.
LEAKS = re.compile(rf"\b(?:the|this|that|my|your|what) (?:{MATTER.pattern})\b|\bsocial scene\b", re.IGNORECASE)
# Small models often write a prompt's tags around their answer, and other methods have other tags.
TAGS = re.compile(r"</?(?:question|answer|effects|fault|feedback|principle)>", re.IGNORECASE)

QUOTED = 200  # characters of the answer that a point quotes


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
    return Request("revision", revised(question, initial), lambda _: chat)


def change(quoted: str, problem: str, better: str) -> str:
    """One thing to change in the initial response, as a line of the effects."""
    words = shorten(quoted, QUOTED)
    quotation = f'"{words}" ' if words else ""  # a point about what the answer left out may quote nothing
    return f"- {quotation}{problem} Better: {better}"


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
        yield CITED.sub("", scene.aftermath.consequences)
    for point in scene.critique.points:
        yield change(scene.quoted(point.quotes), *(CITED.sub("", text) for text in (point.problem, point.change)))


def _shown(scene: Scene) -> list[Message]:
    task = _task(scene.question, scene.initial or "", _effects(scene))
    return [task, Message(role="assistant", content=scene.revised or "")]


@lru_cache(maxsize=64)
def _revision_without(allowed: frozenset[str]) -> type[Prose]:
    def keeps_to_the_answer(text: str) -> str:
        for found in LEAKS.finditer(text):
            if MATTER.findall(found.group())[0].casefold() not in allowed:
                raise ValueError(
                    f'"{found.group()}" mentions how the answer was made; write only the answer to the question'
                )
        return text

    checks = {
        "untagged": field_validator("root", mode="before")(lambda text: TAGS.sub("", text).strip()),
        "check": field_validator("root")(keeps_to_the_answer),
    }
    return create_model("Revision", __base__=Prose, __validators__=checks)
