"""The scenes of a run in one form, whichever version of matrix-align played them.

Owns what a reader and the rules need of a scene. The package refuses records of version 0.1, so this module reads those
itself. Knows no sheet and no mark.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix_align import Answer, InputError, Scene, Store


@dataclass(frozen=True)
class Role:
    name: str
    kind: str
    traits: str
    duty: str
    stake: str


@dataclass(frozen=True)
class Step:
    """A step of the plan. `words` are those of the answer that others get to read or hear."""

    act: str
    when: str = ""
    words: str = ""


@dataclass(frozen=True)
class Event:
    """`when` and `words` are empty in version 0.1, which has neither."""

    number: int
    step: int
    actor: str
    action: str
    because: tuple[int, ...]
    feasible: bool
    outcome: str
    observers: tuple[str, ...]
    harm: str
    when: str = ""
    words: str = ""


@dataclass(frozen=True)
class Point:
    """A point of the critique. `quoted` is the part of the answer that it quotes; 0.1 quotes nothing."""

    incidents: tuple[int, ...]
    problem: str
    change: str
    quoted: str = ""


@dataclass(frozen=True)
class Played:
    """A scene, as far as it was played. Parts that are not there are None or empty.

    `situation` and `aftermath` hold lines by their names, such as "goal". `stance` says what the answer does, and is
    None in version 0.1, which does not ask for it. `error` says why the scene broke off.
    """

    question: str
    initial: str | None
    situation: dict[str, str]
    stance: str | None
    roles: tuple[Role, ...]
    steps: tuple[Step, ...]
    events: tuple[Event, ...]
    ending: str
    aftermath: dict[str, str]
    points: tuple[Point, ...] | None
    revised: str | None
    revised_cut: bool
    error: str

    @property
    def ego(self) -> str:
        return self.situation.get("ego", "")

    @property
    def parties(self) -> tuple[str, ...]:
        """The names of all: the ego first, then the roles."""
        return (self.ego, *(role.name for role in self.roles))


def scenes(run: Path) -> dict[str, Played]:
    """The scenes of a run of this version, by question. Raises StoreError and InputError."""
    path = _record(run)
    with Store(path, read_only=True) as store:
        rows = store.select("SELECT answer FROM answers WHERE method = 'matrix'")
        return _by_question(path, (_played(Answer.model_validate_json(row)) for (row,) in rows))


def scenes_of_0_1(run: Path) -> dict[str, Played]:
    """The scenes of a run of version 0.1, by question. Raises InputError."""
    path = _record(run)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT scene FROM scenes").fetchall()
        return _by_question(path, (_played_by_0_1(json.loads(row)) for (row,) in rows))
    except (sqlite3.Error, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} can't be read as a record of version 0.1 ({error!r}); is it one?") from None


def _record(run: Path) -> Path:
    if not (path := run / "record.db").exists():
        raise InputError(f"{run} holds no record.db; wanted a folder that `matrix-align generate --out` made")
    return path


def _by_question(path: Path, played: Iterator[Played]) -> dict[str, Played]:
    found: dict[str, Played] = {}
    for each in played:
        if each.question in found:
            raise InputError(f"{path} holds two scenes about {each.question!r}; wanted a run in which each has one")
        found[each.question] = each
    return found


def _played(answer: Answer) -> Played:
    if not answer.scene:  # it failed before its first part
        return _form({"question": answer.question.text, "error": answer.error})
    scene = Scene.of(answer)
    form = scene.model_dump(mode="json") | {"question": scene.question.text, "error": answer.error}
    form |= {"initial": answer.initial, "revised": answer.text, "revised_cut": bool(answer.text_cut)}
    for step in (form["plan"] or {}).get("steps", ()):
        step["words"] = scene.quoted(tuple(step["words"]))
    for point in (form["critique"] or {}).get("points", ()):
        point["quoted"] = scene.quoted(tuple(point["quotes"]))
    if after := form["aftermath"]:
        form["aftermath"] = {name.replace("_", " "): text for name, text in after.items()}
        form["aftermath"]["fates"] = "\n".join(map(_fate, after["fates"]))
    return _form(form)


def _fate(fate: dict[str, str]) -> str:
    harm = "" if fate["harm"] == "none" else f" ({fate['harm']}; cause: {fate['cause']})"
    return f"{fate['who']}: {fate['later']}{harm}"


def _played_by_0_1(scene: dict[str, Any]) -> Played:
    """0.1 has the consequences in its critique, steps that are texts, and points that rest on one incident each."""
    critique, plan = scene["critique"], scene["plan"]
    form = scene | {"question": scene["question"]["text"]}
    form["revised_cut"] = any(call["cut"] for call in scene["calls"] if call["kind"] == "revision")
    if plan:
        form["plan"] = {"steps": [{"act": act} for act in plan["steps"]]}
    if critique:
        form["aftermath"] = {"consequences": critique["consequences"]}
        form["critique"] = {"points": [point | {"incidents": [point["incident"]]} for point in critique["points"]]}
    return _form(form)


def _form(scene: dict[str, Any]) -> Played:
    """The scene whose parts are in the JSON of this version, with what `_played` put into it."""
    roles = (scene.get("cast") or {}).get("roles", ())
    steps = (scene.get("plan") or {}).get("steps", ())
    ending, critique = scene.get("ending"), scene.get("critique")
    return Played(
        question=scene["question"],
        initial=scene.get("initial"),
        situation={name: text for name, text in (scene.get("situation") or {}).items() if text},
        stance=_stance(scene["stance"]) if scene.get("stance") else None,
        roles=tuple(Role(**{name: role[name] for name in Role.__annotations__}) for role in roles),
        steps=tuple(Step(step["act"], step.get("when", ""), step.get("words", "")) for step in steps),
        events=tuple(map(_event, scene.get("events", ()))),
        ending=f"{ending['how']}. {ending['why']}" if ending else "",
        aftermath={name: text for name, text in (scene.get("aftermath") or {}).items() if text},
        points=tuple(map(_point, critique["points"])) if critique else None,
        revised=scene.get("revised"),
        revised_cut=bool(scene.get("revised_cut")),
        error=scene.get("error") or "",
    )


def _stance(stance: dict[str, str]) -> str:
    return f"The answer {stance['answer']}. It hurts: {stance['hurts'] or 'nobody'}"


def _event(event: dict[str, Any]) -> Event:
    verdict = event["verdict"]
    return Event(
        **{name: event[name] for name in ("number", "step", "actor", "action")},
        because=tuple(event["because"]),
        **{name: verdict[name] for name in ("feasible", "outcome", "harm")},
        observers=tuple(verdict["observers"]),
        when=event.get("when", ""),
        words=event.get("words", ""),
    )


def _point(point: dict[str, Any]) -> Point:
    return Point(tuple(point["incidents"]), point["problem"], point["change"], point.get("quoted", ""))
