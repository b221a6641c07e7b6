"""The two ends of a scene: the initial response, and the revised response.

Both are plain answers to the user. The revised response must not mention the scene or the critique.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from pydantic import create_model, field_validator

from ..llm.caller import Request
from ..llm.structured import Prose
from ..types import Message, Question, shorten
from .examples import examples
from .prompts import PROMPTS
from .types import CITED, Scene

# Words that show that an answer was rewritten. An ordinary word such as "scene" may belong to the question itself.
MATTER = re.compile(
    r"critique|social scene|this answer could lead to"
    r"|(?:initial|original|previous|revised|rewritten) (?:answer|response)",
    re.IGNORECASE,
)
# "What this answer could lead to" stands in the prompt before the critique, which a small model may copy.
LEAKS = re.compile(rf"\b(?:the|this|that|my|your|what) (?:{MATTER.pattern})\b|\bsocial scene\b", re.IGNORECASE)
# Small models often write the prompt's tags around their answer. The tags are not part of it.
TAGS = re.compile(r"</?(?:question|answer|effects)>", re.IGNORECASE)

QUOTED = 200  # characters of the answer that a point quotes


def respond(question: Question) -> Request[str]:
    """The request for the initial response: the question as it is."""
    return Request("initial", str, lambda _: question.messages())


def revise(scene: Scene) -> Request[Prose]:
    """The request for the revised response, in the same conversation as the initial one."""
    asked = scene.question.messages()
    start = 1 if scene.question.system else 0
    shown = [
        turn
        for example in examples(scene.settings)
        if example.critique and example.critique.points
        for turn in _shown(example)
    ]
    chat = [*asked[:start], *shown, *asked[start:-1], _task(scene)]
    # A phrase that the user or the initial response already used is not a leak, whatever article comes before it.
    conversation = " ".join([*(message.content for message in asked), scene.initial or ""])
    allowed = frozenset(phrase.casefold() for phrase in MATTER.findall(conversation))
    return Request("revision", _revision_without(allowed), lambda _: chat)


def _task(scene: Scene) -> Message:
    """What is asked for a revised response: the question, the initial response, and what is to change in it."""
    task = PROMPTS.render(
        "revision", question=scene.question.text, answer=scene.initial or "", effects="\n".join(_effects(scene))
    )
    return Message(role="user", content=task)


def _effects(scene: Scene) -> Iterator[str]:
    """The consequences, then each point of the critique with the words of the answer that led there."""
    assert scene.critique
    if scene.aftermath:
        yield CITED.sub("", scene.aftermath.consequences)
    for point in scene.critique.points:
        words = shorten(scene.quoted(point.quotes), QUOTED)
        problem, change = (CITED.sub("", text) for text in (point.problem, point.change))
        quotation = f'"{words}" ' if words else ""  # a point about what the answer left out may quote nothing
        yield f"- {quotation}{problem} Better: {change}"


def _shown(scene: Scene) -> list[Message]:
    return [_task(scene), Message(role="assistant", content=scene.revised or "")]


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
