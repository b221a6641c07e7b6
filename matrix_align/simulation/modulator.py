"""The social modulator: it stands above the scene, sees all of it and rules on every move.

It decides five things: whether a move is feasible, who observes it, what everyone remembers (memory.py), what harm it
does, and when the scene ends. It alone knows the harm. Knows no HTTP and no store.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..llm.caller import Request
from ..llm.prompts import Filled
from ..llm.structured import Allowed
from .conversation import Shown, parties, person_and_hurt, record, request
from .memory import moved
from .prompts import PROMPTS
from .types import Ending, Event, Move, Scene, Verdict

ACTION = ("goes on", "goal reached", "nothing more")  # the endings that a verdict on the ego can name
REACTION = ("goes on", "goal reached", "stopped")  # and those that a verdict on another role can name


def judge(scene: Scene, move: Move) -> Request[Verdict]:
    """The request for a verdict on one move. It allows only the names and endings that are possible here."""
    others = tuple(name for name in scene.parties if name != move.actor)
    allowed: Allowed = {"observers": others, "ending": _endings(scene, move)}
    return request(
        "verdict", scene, Verdict, lambda limit: _ruling(scene, move, limit), _shown, allowed, move.actor, move.step
    )


def _endings(scene: Scene, move: Move) -> tuple[str, ...]:
    """The endings that a verdict on this move can name.

    A small model ends most scenes at the first act. So a brief scene goes on to its last step, unless it is stopped.
    """
    endings = ACTION if move.actor == scene.ego else REACTION
    if scene.settings.brief and move.step < len(scene.set_up[2].steps):
        return tuple(how for how in endings if how in ("goes on", "stopped"))
    return endings


def _ruling(scene: Scene, move: Move, limit: int) -> Filled:
    given = person_and_hurt(scene) | {"cast": parties(scene), "record": record(scene, limit), "attempt": moved(move)}
    return PROMPTS.render("verdict.ask", **given)


def _shown(scene: Scene) -> Shown:
    """One ruling of each scene, the second."""
    for event in scene.events[:2][-1:]:
        before = scene.evolve(events=scene.events[: event.number - 1])
        yield _ruling(before, event, scene.settings.memory), event.verdict


def rule(scene: Scene, moves: Sequence[Move], verdicts: Sequence[Verdict]) -> Scene:
    """The scene with the moves as its next events. A move that is not feasible has no effect and no observers."""
    events = list(scene.events)
    for move, verdict in zip(moves, verdicts, strict=True):
        if not verdict.feasible:
            verdict = verdict.model_copy(update={"observers": (), "harm": "", "ending": "goes on"})
        events.append(Event(**dict(move), number=len(events) + 1, verdict=verdict))
    return scene.evolve(events=tuple(events))


def awaited(act: Event) -> tuple[str, ...]:
    """Who may react to the ego's act: its observers, or nobody if nothing more can follow."""
    return () if act.verdict.ending == "nothing more" else act.verdict.observers


def unheard(scene: Scene, ending: Ending) -> dict[str, Event]:
    """Those who have observed an event after their last turn, each with the last such event.

    Only the ego's acts are reacted to as they happen. So what one role does before another's eyes may be decisive, and
    the other has not had its turn: the bank that has seen the transfer. These turns are the last of the scene. In a
    brief scene the ego has none, because it has something to react to nearly always.
    """
    if ending.how == "nothing more":
        return {}
    waiting: dict[str, Event] = {}
    for event in scene.events:
        asked = awaited(event) if event.actor == scene.ego else ()
        for name in event.verdict.observers:
            if name not in asked and not (name == scene.ego and scene.settings.brief):
                waiting[name] = event
        for name in (event.actor, *asked):
            waiting.pop(name, None)
    return waiting


def ending(scene: Scene, act: Event) -> Ending | None:
    """How the scene ends after the ego's `act` and the reactions to it; None if it goes on."""
    if not act.verdict.feasible:
        return Ending(how="stopped", why=f"{act.actor} can't go on [{act.number}]: {act.verdict.outcome}")
    for event in reversed(scene.events[act.number - 1 :]):  # a reaction can stop what the act achieved
        if event.verdict.ending != "goes on":
            return Ending(how=event.verdict.ending, why=f"{event.actor} [{event.number}]: {event.verdict.outcome}")
    if act.step == len(scene.set_up[2].steps):
        planned = scene.settings.brief or act.action == scene.set_up[2].steps[-1].act
        last = "has done the last step" if planned else "has no step left after"
        return Ending(how="steps finished", why=f"{act.actor} {last} [{act.number}]")
    return None


def last_word(scene: Scene, turns: int, ending: Ending) -> Ending:
    """How the scene ends after its last `turns` events, which may still reach the goal or stop it; `ending` if not."""
    for event in reversed(scene.events[len(scene.events) - turns :]):
        if (how := event.verdict.ending) in ("goal reached", "stopped"):
            return Ending(how=how, why=f"{event.actor} [{event.number}]: {event.verdict.outcome}")
    return ending
