"""What a reader gets: each scene as a text, and the two answers to a question as a pair whose sides are drawn.

Owns the layout of both, the marks to be filled in, and the key. A reader sees neither systems nor kinds of questions.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

from matrix_align import InputError

from .reading_marks import CHOICES, FIELDS, KEY, MARKS, READER, Asked
from .reading_rules import ruled
from .reading_scenes import Event, Played

WIDTH = 100  # characters of a line; the answers stand as they are


def write(folder: Path, asked: list[Asked], systems: dict[str, dict[str, Played]], seed: int) -> None:
    """Writes sheets, pairs, empty marks and the key into `folder`. `systems` holds the scenes of each, by question.

    Raises InputError if something is in `folder` already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty, and may hold marks; give another --out")
    draw = random.Random(seed)
    key: list[dict[str, Any]] = []
    sheets: list[tuple[dict[str, Any], Played]] = []
    pairs: list[tuple[dict[str, Any], Played]] = []
    for system, played in systems.items():
        found = [played.get(question.text) for question in asked]
        sides = iter(_sides(sum(bool(scene and _differ(scene)) for scene in found), draw))
        for question, scene in zip(asked, found, strict=True):
            entry: dict[str, Any] = {
                "system": system,
                "question": question.id,
                "kind": question.kind,
                "sheet": None,
                "pair": None,
            }
            entry |= {"revised": None, "rules": ruled(scene) if scene else {}}
            if scene:
                sheets.append((entry, scene))
            if scene and _differ(scene):
                entry["revised"] = next(sides)
                pairs.append((entry, scene))
            elif scene and scene.revised is not None:
                entry["revised"] = "same"  # word for word, so that nobody need read it
            key.append(entry)
    reader = folder / READER
    _number(draw, sheets, "sheet")
    _number(draw, pairs, "pair")
    _write(reader / "sheets", ((entry["sheet"], sheet(scene)) for entry, scene in sheets))
    _write(reader / "pairs", ((entry["pair"], pair(scene, entry["revised"])) for entry, scene in pairs))
    _write_lines(reader / MARKS, [{"sheet": entry["sheet"]} | dict.fromkeys(FIELDS) for entry, _ in sheets])
    _write_lines(reader / CHOICES, [{"pair": entry["pair"], "better": None, "reason": ""} for entry, _ in pairs])
    _write_lines(folder / KEY, key)


def _differ(scene: Played) -> bool:
    return scene.initial is not None and scene.revised is not None and scene.initial != scene.revised


def _sides(count: int, draw: random.Random) -> list[str]:
    """The sides of `count` revised answers: half of them A (the odd one is drawn), in drawn order."""
    sides = ["A", "B"] * (count // 2) + [draw.choice("AB")] * (count % 2)
    draw.shuffle(sides)
    return sides


def _number(draw: random.Random, entries: list[tuple[dict[str, Any], Played]], name: str) -> None:
    """Gives the entries numbers in drawn order, so that the number tells nothing of the system."""
    draw.shuffle(entries)
    for number, (entry, _) in enumerate(entries, start=1):
        entry[name] = f"{number:03}"


def _write(folder: Path, texts: Iterable[tuple[str, str]]) -> None:
    folder.mkdir(parents=True)
    for name, text in texts:
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def pair(scene: Played, revised: str) -> str:
    """The question and both answers. `revised` is the side of the revised one."""
    answers = (scene.revised, scene.initial) if revised == "A" else (scene.initial, scene.revised)
    return _titled(("QUESTION", scene.question), ("ANSWER A", answers[0]), ("ANSWER B", answers[1]))


def sheet(scene: Played) -> str:
    """The scene as a text, part by part. A part that was never made is called missing."""
    return _titled(
        ("QUESTION", scene.question),
        ("INITIAL ANSWER", scene.initial),
        ("WHO ASKS, AND THE SITUATION", _lines(f"{name}: {text}" for name, text in scene.situation.items())),
        ("ROLES", _lines(_role(*vars(role).values()) for role in scene.roles)),
        ("PLAN", _lines(_plan(scene))),
        *([("THE ANSWER AT FIRST SIGHT", _lines([scene.stance]))] if scene.stance else []),
        ("WHAT HAPPENS", _lines(line for event in scene.events for line in _event(event))),
        ("THE END OF THE SCENE", _lines([scene.ending] if scene.ending else [])),
        ("WHAT CAME OF IT", _lines(f"{name}: {text}" for name, text in scene.aftermath.items())),
        ("CRITIQUE OF THE INITIAL ANSWER", _critique(scene)),
        ("REVISED ANSWER", _revised(scene)),
        *([("THE SCENE BROKE OFF", scene.error)] if scene.error else []),
    )


def _titled(*parts: tuple[str, str | None]) -> str:
    return "\n".join(f"=== {title}\n\n{text or '(missing)'}\n" for title, text in parts)


def _lines(lines: Iterable[str]) -> str:
    """Each line wrapped, with its own indentation."""
    wrapped = []
    for line in (part for text in lines for part in text.splitlines()):
        margin = " " * (len(line) - len(line.lstrip()))
        wrapped.append(fill(line.strip(), WIDTH, initial_indent=margin, subsequent_indent=f"{margin}  "))
    return "\n".join(wrapped)


def _role(name: str, kind: str, traits: str, duty: str, stake: str) -> str:
    return f"{name} ({kind}): {traits}\n    duty: {duty}\n    stake: {stake}"


def _plan(scene: Played) -> Iterator[str]:
    for number, step in enumerate(scene.steps, start=1):
        yield f"{number}. {f'({step.when}) ' if step.when else ''}{step.act}"
        if step.words:
            yield f"    words of the answer in it: “{step.words}”"


def _event(event: Event) -> Iterator[str]:
    when = f", {event.when}" if event.when else ""
    because = f", because of {', '.join(map(str, event.because))}" if event.because else ""
    yield f"[{event.number}] {event.actor} (step {event.step}{when}{because}): {event.action}"
    if event.words:
        yield f"    words of the answer in it: “{event.words}”"
    yield f"    {'outcome' if event.feasible else 'could not be done'}: {event.outcome or '(none)'}"
    yield f"    observed by: {', '.join(event.observers) or 'nobody'}"
    yield f"    harm, by the modulator: {event.harm or '(none)'}"


def _critique(scene: Played) -> str:
    if scene.points is None:
        return ""
    if not scene.points:
        return "(no point: the initial answer stands)"
    return _lines(
        f"{number}. events {', '.join(map(str, point.incidents)) or '(none)'}"
        + (f", on “{point.quoted}”" if point.quoted else "")
        + f"\n    problem: {point.problem}\n    change: {point.change}"
        for number, point in enumerate(scene.points, start=1)
    )


def _revised(scene: Played) -> str | None:
    if scene.revised is None:
        return None
    if scene.revised == scene.initial:
        return "(the initial answer, word for word)"
    return scene.revised + ("\n\n(cut off at the longest answer allowed)" if scene.revised_cut else "")
