"""The calls behind an answer, as columns: calls of one column were made at the same time, after those before it."""

from __future__ import annotations

from typing import NamedTuple

from ...types import Answer, Call

COLUMN, HEIGHT, GAP = 26, 160, 2  # units of the picture; GAP is between two calls


class Bar(NamedTuple):
    """A call in the picture. Its height is its share of the tokens generated."""

    place: int
    call: Call
    x: int
    y: float
    height: float


class Timeline(NamedTuple):
    width: int
    height: int
    bars: list[Bar]


def timeline(answer: Answer) -> Timeline:
    """One bar a call. The column with most tokens has the full height."""
    columns: dict[int, list[tuple[int, Call]]] = {}
    for place, call in enumerate(answer.calls, start=1):
        columns.setdefault(call.depth, []).append((place, call))
    most = max((sum(call.usage.completion_tokens for _, call in calls) for calls in columns.values()), default=0)
    room = HEIGHT - GAP * max(map(len, columns.values()), default=0)
    bars = []
    for depth, calls in columns.items():
        y = float(HEIGHT)
        for place, call in calls:
            height = max(3.0, room * call.usage.completion_tokens / (most or 1))
            y -= height + GAP
            bars.append(Bar(place, call, (depth - 1) * COLUMN, round(y, 1), round(height, 1)))
    top = min((bar.y for bar in bars), default=0.0)
    if top < 0:  # many calls of few tokens, of which none is drawn lower than 3
        bars = [bar._replace(y=bar.y - top) for bar in bars]
    return Timeline(max(columns, default=1) * COLUMN, round(HEIGHT - min(top, 0)), bars)
