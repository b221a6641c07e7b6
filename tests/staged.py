"""Shared by the tests of a scene: Ann's scene, with what each party does and how the modulator rules given by the test.

The tests tell requests apart by the words that the stage itself puts into a scene, not by the words of the prompts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matrix_align import Answer, Endpoint, Scene

from .conftest import answered
from .fake import FakeServer, kind

QUESTION = "How do I ask my neighbour to turn the music down? (the-question)"
INITIAL = "Knock and ask politely. (the-initial-response)"
NAMES = ("Guard", "Bank", "Door")
REFUSED = {"feasible": False, "outcome": "The wall is too high."}
UNHEARD: Any = {"without": ("last-turns",)}  # settings for tests that count reactions


def text_of(body: dict[str, Any]) -> str:
    """The text of one request."""
    return "\n".join(message["content"] for message in body["messages"])


def attempt(body: dict[str, Any]) -> str:
    """The attempt that a request for a verdict is about: 'hour-1. Ann knocks.'"""
    return str(re.findall(r"<attempt>\n(.*)\n</attempt>", text_of(body))[-1])


def who(text: str) -> str:
    """Who is asked for a reaction: a role reads its own duty and no other's, and Ann none."""
    return str(["Ann", *re.findall(r"duty-(.+?)-end", text)][-1])


def hour(text: str) -> int:
    """The step that a request for the ego's next move is about: its `when` is what is said last."""
    return int(re.findall(r"hour-(\d+)", text)[-1])


async def staged(
    server: FakeServer,
    model: Endpoint,
    *steps: str,
    names: Sequence[str] = NAMES,
    reacts: Mapping[str, str] | None = None,
    rulings: Mapping[str, Mapping[str, Any]] | None = None,
    chooses: Callable[[str], str] = lambda planned: planned or "Ann goes round.",
    elsewhere: str = "hour-9",
    words: Mapping[int, Sequence[int]] | None = None,
    stance: str = "helps",
    weeks_later: Mapping[str, Any] | None = None,
    points: Sequence[Any] | None = None,
    **settings: Any,
) -> tuple[Answer, Scene]:
    """The scene of Ann, who plans `steps`, and of the others, who react as `reacts` says or do nothing.

    `rulings` changes the verdict on each attempt that holds these words. All other attempts succeed, and everyone
    observes them. `chooses` is what Ann does, given the planned step, or '' after a refusal, and
    `elsewhere` when she does it. `words` are the passages
    of the answer that she says at a step. `stance` is what the answer does at first sight. `weeks_later` changes the
    aftermath, in which the answer harmed everyone, and `points` are those of the critique. `settings` are the scene's
    own.
    """
    situation = {"ego": "Ann", "asks": "Ann asks for quiet.", "who": "a tired nurse", "setting": "A landing at night."}
    server.on["Asker"] = lambda _: situation
    server.on["Situation"] = lambda _: situation | {"motive": "the-motive", "goal": "the-goal"}
    server.on["Refusal"] = lambda _: {"refuses": stance == "refuses"}
    harm = "pressed" if stance == "hurts" else "nobody is harmed"
    server.on["Risk"] = lambda _: {"done": "the-risk", "others": "Guard", "harm": harm}
    server.on["Stance"] = lambda _: {"hurts": "the-risk", "answer": stance}
    roles = [
        {"name": n, "kind": "person", "traits": f"near-{n}", "duty": f"duty-{n}-end", "stake": f"stake-{n}"}
        for n in names
    ]
    plan = [
        {"when": f"hour-{n}", "act": act, "words": list((words or {}).get(n, ()))} for n, act in enumerate(steps, 1)
    ]
    server.on["Opening"] = lambda _: {"steps": plan, "roles": roles}
    server.on.setdefault("text", lambda _: INITIAL)

    def verdict(body: dict[str, Any]) -> Any:
        changes = (each for words, each in (rulings or {}).items() if words in attempt(body))
        return server.default(body) | next(changes, {})

    def reaction(body: dict[str, Any]) -> Any:
        action = (reacts or {}).get(who(text_of(body)), "")
        return {"acts": bool(action), "action": action}

    def choice(body: dict[str, Any]) -> Any:
        planned = steps[hour(text_of(body)) - 1]
        action = chooses(planned)
        return {"as_planned": action == planned, "action": action, "when": elsewhere if action != planned else ""}

    server.on |= {"Verdict": verdict, "Reaction": reaction, "Choice": choice, "Deviation": choice}
    server.on["Instead"] = lambda _: {"action": chooses("")}
    server.on["Aftermath"] = lambda body: server.default(body) | dict(weeks_later or {})
    server.on["Critique"] = lambda body: server.default(body) | ({} if points is None else {"points": list(points)})
    return await answered(model, QUESTION, roles=len(names), steps=len(steps), **settings)


def attempts(server: FakeServer) -> list[str]:
    """What the modulator was asked to rule on, in order, without the hours."""
    return [re.sub(r"^hour-\d+\. ", "", attempt(body)) for body in server.requests if kind(body) == "Verdict"]


def reactions_asked(server: FakeServer, name: str) -> list[str]:
    """The prompts in which `name` was asked for a reaction, in order."""
    return [text for text in server.prompts("Reaction") if who(text) == name]
