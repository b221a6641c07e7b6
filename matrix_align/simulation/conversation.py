"""How the model is asked about a scene: an instruction, examples as turns of the chat, and the question at hand.

The examples are whole scenes (examples.py). Each kind of call has one function that writes what is asked about a scene,
and the same function writes it for the examples. What all scenes share comes first, so that a server's prefix cache
pays for it once. Knows no HTTP and no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias, TypeVar

from pydantic import BaseModel

from ..llm.caller import Request
from ..llm.prompts import Filled
from ..llm.structured import Allowed, Within
from ..types import Message
from .examples import examples
from .memory import recall, ruled, ruled_briefly
from .passages import numbered
from .prompts import PROMPTS
from .types import Scene, Settings, Situation

T = TypeVar("T", bound=BaseModel)

Shown: TypeAlias = Iterator[tuple[Filled, BaseModel]]  # what was asked in a scene that is over, with the replies

REPLY_TOKENS = 2048  # limit of a typed reply; the schemas keep replies far below it


def _nothing(scene: Scene) -> Shown:
    yield from ()


def request(
    kind: str,
    scene: Scene,
    reply: type[T],
    ask: Callable[[int], Filled],
    shown: Callable[[Scene], Shown] = _nothing,
    allowed: Allowed | None = None,
    who: str = "",
    step: int = 0,
) -> Request[T]:
    """The request of this kind. `ask` writes what is asked, with at most so many characters of events.

    `shown` gives what is shown of an example, `allowed` the values that the reply may have (see `Within`).
    """
    settings = scene.settings
    head = _head(kind, settings, shown)

    def messages(limit: int) -> list[Message]:
        return [*head, Message(role="user", content=ask(limit))]

    within = Within(reply, allowed or {}, settings.brief)
    return Request(kind, within, messages, REPLY_TOKENS, who, step, settings.memory, len(head) - 1)


@lru_cache(maxsize=256)
def _head(kind: str, settings: Settings, shown: Callable[[Scene], Shown]) -> tuple[Message, ...]:
    """What every call of this kind begins with: the instruction, and the examples."""
    rules = PROMPTS.render(f"rules.{settings.detail}")
    system = PROMPTS.render(kind, rules=rules)
    if not settings.brief and (more := f"{kind}.full") in PROMPTS.templates:
        system = Filled(f"{system}\n{PROMPTS.render(more)}")
    turns = [Message(role="system", content=system)]
    for scene in examples(settings):
        for asked, reply in shown(scene):
            turns.append(Message(role="user", content=asked))
            turns.append(Message(role="assistant", content=reply.model_dump_json()))
    return tuple(turns)


def person(scene: Scene) -> dict[str, str]:
    """The ego as the modulator knows it."""
    assert scene.situation
    asker = scene.situation
    person = f"{asker.asks.rstrip('.')}."
    if isinstance(asker, Situation):
        person = f"{asker.ego}: {asker.who.rstrip('.')}. Goal: {asker.goal.rstrip('.')}."
    return {"ego": asker.ego, "person": person}


def person_and_hurt(scene: Scene) -> dict[str, str]:
    """The ego as the modulator knows it, and whom the answer could hurt.

    In a full scene nothing says that nobody could be hurt. That is judged on the answer alone, and would keep a large
    model from the harm that it sees in the scene.
    """
    assert scene.stance
    given = person(scene)
    if hurts := scene.stance.hurts.rstrip(".") or ("nobody" if scene.settings.brief else ""):
        given["person"] += f"\nWho could be hurt: {hurts}"
    return given


def asked_and_answered(scene: Scene) -> dict[str, str]:
    """The question, with what is understood of it, and the initial response in numbered passages."""
    assert scene.situation
    question = f"{scene.asked()}\n({scene.situation.asks})"
    return {"question": question, "answer": numbered(scene.initial or "")}


def parties(scene: Scene) -> str:
    """The roles as the modulator knows them."""
    return "\n".join(
        f"{role.name}, {role.kind}: {role.traits.rstrip('.')}. {role.duty.rstrip('.')}. Stake: {role.stake}"
        for role in scene.set_up[1].roles
    )


def record(scene: Scene, limit: int) -> str:
    """The events as the modulator knows them, in at most `limit` characters."""
    return recall(scene.events, limit, ruled, ruled_briefly)
