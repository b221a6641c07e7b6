"""An answer's making as a text that only grows: what a client shows as the model's reasoning.

Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...simulation.types import Event, Scene
from ...types import Answer


def narrated(answer: Answer) -> str:
    """What has happened so far, line by line. That of a grown answer begins with that of the answer before."""
    lines = _of_scene(Scene.of(answer)) if answer.scene else _of_draft(answer)
    return "".join(f"{line}\n" for line in lines)


def _of_draft(answer: Answer) -> Iterator[str]:
    if answer.initial is not None:
        yield f"First answer: {answer.initial}"


def _of_scene(scene: Scene) -> Iterator[str]:
    if situation := scene.situation:
        yield situation.setting
        yield f"{situation.ego}: {situation.asks}"
    if scene.cast:
        for role in scene.cast.roles:
            yield f"{role.name} ({role.kind}): {role.traits}"
    for event in scene.events:
        yield from _of_event(event)
    if scene.ending:
        yield f"The scene ends: {scene.ending.how}."
    if scene.aftermath:
        yield f"Weeks later: {scene.aftermath.consequences}"
    if scene.critique:
        for point in scene.critique.points:
            yield f"To change: {point.problem} {point.change}"
        if not scene.critique.points:
            yield "Nothing to change."


def _of_event(event: Event) -> Iterator[str]:
    refused = "" if event.verdict.feasible else " (it fails)"
    yield f"[{event.number}] {event.actor}: {event.action}{refused}"
    yield f"    {event.verdict.outcome}"
    if event.verdict.harm:
        yield f"    Harm: {event.verdict.harm}"
