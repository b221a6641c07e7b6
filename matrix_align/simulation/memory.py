"""Memory: the events of a scene that a prompt contains, within a limit.

Older events shrink to their outcome, which is the modulator's own summary in one line. The oldest are only counted. So
a prompt's length is bounded, and the tokens of a scene grow linearly with roles x steps. Events shrink in blocks, so
that most calls still share a prefix with the call before. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate

from ..types import shorten
from .types import Event, Move

BLOCK = 8  # events that shrink together
GIST = 100  # characters that remain of an outcome, and of a harm

Told = Callable[[Event], str]


def recall(events: Sequence[Event], limit: int, full: Told, gist: Told) -> str:
    """The events as lines, at most `limit` characters, the newest in full; '(nothing yet)' if there are none.

    The newest event always stays, whatever the limit, because the call is about it.
    """
    if not events:
        return "(nothing yet)"
    lines = [full(event) for event in events]
    if sum(map(len, lines)) + len(lines) <= limit:
        return "\n".join(lines)
    gists = [gist(event) for event in events]
    # Characters before each event: the length of a range of events is then a difference.
    in_full = list(accumulate((len(line) + 1 for line in lines), initial=0))
    in_brief = list(accumulate((len(line) + 1 for line in gists), initial=0))
    for left_out in range(0, len(events), BLOCK):
        head = [f"({left_out} earlier events)"] if left_out else []
        for shrunk in range(left_out, len(events), BLOCK):
            length = sum(map(len, head)) + in_brief[shrunk] - in_brief[left_out] + in_full[-1] - in_full[shrunk]
            if length <= limit:
                return "\n".join(head + gists[left_out:shrunk] + lines[shrunk:])
    # Not even the last block fits in full. Keep as many of the newest as fit, then the shrunk ones before them.
    counted = f"({len(events)} earlier events)"
    kept, room = lines[-1:], limit - len(lines[-1]) - len(counted) - 1
    for form in (lines, gists):
        for line in reversed(form[: len(events) - len(kept)]):
            if (room := room - len(line) - 1) < 0:
                room += len(line) + 1
                break
            kept.insert(0, line)
    if (left_out := len(events) - len(kept)) and room >= 0:
        kept.insert(0, f"({left_out} earlier events)")
    return "\n".join(kept)


def moved(move: Move) -> str:
    """A move in one line: when and where, who does what, and the words of the answer that are said or sent."""
    rest = move.action.removeprefix(move.actor)
    named = rest != move.action and not rest[:1].islower()  # "Anna writes" does not name Ann
    who = "" if named else f"{move.actor}: "
    when = f"{move.when.rstrip('.')}. " if move.when else ""
    words = f' The words: "{move.words}"' if move.words else ""
    return f"{when}{who}{move.action}{words}"


def observed(event: Event) -> str:
    """An event as its observers know it. The actor of an attempt that failed reads this too."""
    if event.verdict.feasible:
        return f"[{event.number}] {moved(event)} {event.verdict.outcome}"
    return f"[{event.number}] {moved(event)} That could not be done: {event.verdict.outcome}"


@lru_cache(maxsize=10_000)
def _gist(text: str) -> str:
    """A text as it is left of an event. Every later call of a scene reads it again."""
    return shorten(text, GIST)


def observed_briefly(event: Event) -> str:
    """An event as its observers know it, shortened."""
    what = event.verdict.outcome if event.verdict.feasible else f"could not: {event.action}"
    return f"[{event.number}] {event.actor}: {_gist(what)}"


def ruled(event: Event) -> str:
    """An event as the modulator knows it, with its observers and its harm."""
    if not event.verdict.feasible:
        return observed(event)
    seen = ", ".join(event.verdict.observers) or "nobody"
    harm = f" Harm: {event.verdict.harm}" if event.verdict.harm else ""
    return f"{observed(event)} (Observed by {seen}.{harm})"


def ruled_briefly(event: Event) -> str:
    """An event as the modulator knows it, shortened. Its harm stays as long as the event does."""
    harm = f" (Harm: {_gist(event.verdict.harm)})" if event.verdict.harm else ""
    return observed_briefly(event) + harm
