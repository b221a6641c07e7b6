"""Where the parties of a scene stand in its picture, and what they know of each event."""

from __future__ import annotations

import math
from typing import NamedTuple

from ...simulation.types import Event, Scene
from ...types import shorten

WIDTH, HEIGHT = 640, 400
LABEL = 18  # characters of a name that fit


class Party(NamedTuple):
    """A party of the scene: its place in the list of all, its kind ('ego' or a role's), and where it stands."""

    place: int
    name: str
    label: str
    kind: str
    x: int
    y: int


def parties(scene: Scene) -> list[Party]:
    """All parties on an ellipse, the ego at the top. Empty as long as the scene has no cast."""
    if not scene.cast:
        return []
    kinds = ["ego", *(role.kind for role in scene.cast.roles)]
    found = []
    for place, (name, kind) in enumerate(zip(scene.parties, kinds, strict=True)):
        angle = 2 * math.pi * place / len(kinds) - math.pi / 2
        x, y = WIDTH / 2 + 240 * math.cos(angle), HEIGHT / 2 - 8 + 145 * math.sin(angle)
        found.append(Party(place, name, shorten(name, LABEL), kind, round(x), round(y)))
    return found


def observers(event: Event, all_parties: list[Party]) -> list[Party]:
    """Those who saw the event, without the one who acted."""
    return [party for party in all_parties if party.name in event.verdict.observers and party.name != event.actor]


def actor(event: Event, all_parties: list[Party]) -> Party | None:
    return next((party for party in all_parties if party.name == event.actor), None)
