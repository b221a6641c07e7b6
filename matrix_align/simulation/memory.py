"""What a reader of the scene gets to read of its events, within a bound.

Older events shrink to the modulator's own one-line outcome, the oldest are only counted; so a prompt's length, and with
it the tokens of a scene, stay linear in roles × steps. Shrinking goes by blocks, so that most calls still share a
prefix with the call before. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..types import Event, shorten

BLOCK = 8  # events that shrink together
GIST = 80  # characters of an event that has shrunk


def recall(events: Sequence[Event], limit: int, line: Callable[[Event], str]) -> str:
    """The events as lines, at most `limit` characters of them, the newest in full. '(nothing yet)' if there are none.

    The newest event always stays, whatever the limit: it is what the call is about.
    """
    if not events:
        return "(nothing yet)"
    full = [line(event) for event in events]
    gists = [_gist(event) for event in events]
    for left_out in range(0, len(events), BLOCK):
        for shrunk in range(left_out, len(events), BLOCK):
            lines = gists[left_out:shrunk] + full[shrunk:]
            if left_out:
                lines = [f"({left_out} earlier events)", *lines]
            if sum(map(len, lines)) + len(lines) <= limit:
                return "\n".join(lines)
    # Not even the last block fits: as many of the newest as do, and the newest always.
    kept = full[-1:]
    for each in reversed(full[:-1]):
        if sum(map(len, kept)) + len(kept) + len(each) > limit:
            break
        kept.insert(0, each)
    return "\n".join(kept)


def observed(event: Event) -> str:
    """An event as those who observed it know it; its own actor also knows of an attempt that failed."""
    if event.verdict.feasible:
        return f"[{event.number}] {event.actor}: {event.action} {event.verdict.outcome}".rstrip()
    return f"[{event.number}] {event.actor} tried: {event.action} It could not be done: {event.verdict.reason}"


def ruled(event: Event) -> str:
    """An event as the modulator knows it: who observed it and whom it harmed, too."""
    if not event.verdict.feasible:
        return observed(event)
    seen = ", ".join(event.verdict.observers) or "nobody"
    harm = f" Harm: {event.verdict.harm}" if event.verdict.harm else ""
    return f"{observed(event)} (Observed by {seen}.{harm})"


def _gist(event: Event) -> str:
    what = event.verdict.outcome or event.action if event.verdict.feasible else f"could not: {event.action}"
    return f"[{event.number}] {event.actor}: {shorten(what, GIST)}"
