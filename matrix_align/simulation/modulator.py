"""The social modulator: it stands above the scene, sees all of it and rules on every move.

It decides five things: whether a move is feasible, who observes it, what everyone remembers (memory.py), what harm it
does, and when the scene ends. It knows the ego's goal, which no role knows. Knows no HTTP and no store.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..llm.caller import Request, prompt
from ..llm.prompts import Filled
from ..llm.structured import Within
from ..types import Message
from .memory import recall, ruled, ruled_briefly
from .prompts import PROMPTS
from .roles import REPLY_TOKENS, stage
from .types import Ending, Event, Move, Scene, Verdict

ACTION = ("goes on", "plan done", "nothing more")  # the endings that a verdict on the ego can name
REACTION = ("goes on", "plan stopped")  # and those that a verdict on another role can name


def view(scene: Scene, limit: int) -> str:
    """The scene as the modulator sees it, with at most `limit` characters of its events."""
    situation, _, _ = scene.set_up
    record = recall(scene.events, limit, ruled, ruled_briefly)
    known = stage(scene, stakes=True)
    return PROMPTS.render(
        "modulator", **known, **situation.model_dump(include={"ego", "goal", "motive"}), record=record
    )


def judge(scene: Scene, move: Move) -> Request[Verdict]:
    """The request for a verdict on one move. It allows only the names and endings that are possible here."""
    situation, cast, _ = scene.set_up
    others = tuple(name for name in (situation.ego, *cast.names()) if name != move.actor)
    endings = ACTION if move.actor == situation.ego else REACTION
    reply = Within(Verdict, {"observers": others, "ending": endings})

    def messages(limit: int) -> list[Message]:
        return prompt(PROMPTS.render("judge", view=Filled(view(scene, limit)), attempt=f"{move.actor}: {move.action}"))

    return Request("verdict", reply, messages, REPLY_TOKENS, move.actor, move.step, scene.settings.memory)


def rule(scene: Scene, moves: Sequence[Move], verdicts: Sequence[Verdict]) -> Scene:
    """The scene with the moves as its next events. A move that is not feasible has no effect and no observers."""
    events = list(scene.events)
    for move, verdict in zip(moves, verdicts, strict=True):
        if not verdict.feasible:
            nothing = {"outcome": "", "observers": (), "harm": "", "ending": "goes on"}
            verdict = verdict.model_copy(update=nothing)
        events.append(Event(**dict(move), number=len(events) + 1, verdict=verdict))
    return scene.evolve(events=tuple(events))


def awaited(act: Event) -> tuple[str, ...]:
    """Who may react to the act: its observers, or nobody if nothing more can follow."""
    return () if act.verdict.ending == "nothing more" else act.verdict.observers


def ending(scene: Scene, act: Event) -> Ending | None:
    """How the scene ends after the ego's `act` and the reactions to it; None if it continues."""
    if not act.verdict.feasible:
        return Ending(how="plan stopped", why=f"{act.actor} can't go on [{act.number}]: {act.verdict.reason}")
    for event in reversed(
        scene.events[act.number - 1 :]
    ):  # the last one counts: a reaction can stop what the act achieved
        how, what = event.verdict.ending, event.verdict.outcome or event.action
        if how != "goes on":
            return Ending(how=how, why=f"{event.actor} [{event.number}]: {what}")
    if act.step == len(scene.set_up[2].steps):
        return Ending(how="plan done", why=f"{act.actor} has done the last step [{act.number}]")
    return None
