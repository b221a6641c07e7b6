"""Finds answers of the record by words of the question, ending, harm, method and model, and pages through them.

A page begins where the one before it ended (`at` and id of a row), so that page 1,000 is as quick as page 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from pydantic_core import to_json

from ...simulation.types import Fate
from ...store import Store

PAGE = 50  # answers
WORDS = 8  # of a search; more are not heeded
MOST = 1000  # answers that are counted

HARMS: tuple[str, ...] = get_args(Fate.model_fields["harm"].annotation)[1:]


class Row(NamedTuple):
    """One answer of the list. `harms` are the kinds of harm that its parties came to, with commas between them."""

    at: str
    id: str
    method: str
    model: str
    question: str
    state: str
    calls: int
    harms: str


class Wanted(NamedTuple):
    """What is looked for; empty means everything. `harm` is one of HARMS, 'some' or 'none'."""

    words: str = ""
    state: str = ""
    harm: str = ""
    method: str = ""
    model: str = ""


class Found(NamedTuple):
    """One page of answers, the newest first. `older`, `newer`: more follow.

    `number` counts the answers on all pages. It stops at MOST + 1, so that nobody waits for it.
    """

    rows: Sequence[Row]
    number: int
    older: bool
    newer: bool


class Fork(NamedTuple):
    """What tells a fork from others: the id of the answer that it comes from, and the numbers of the changed calls.

    `calls` has commas between them; it is empty as long as none of these calls was reached.
    """

    of: str
    calls: str


class Choices(NamedTuple):
    """What the answers of the record can be narrowed down to."""

    states: Sequence[str]
    methods: Sequence[str]
    models: Sequence[str]


def find(
    store: Store, wanted: Wanted, to: Literal["older", "newer"] = "older", than: tuple[str, str] = ("", "")
) -> Found:
    """The page of answers that are `to` the older or newer side of the row `than` (`at`, id); without it the first.

    A search that finds little goes through all questions, so the first page is read and counted in one go.
    """
    where, values = _conditions(wanted)
    if not than[0]:
        found = store.select(f"SELECT * FROM listed WHERE {where} ORDER BY at DESC, id DESC LIMIT {MOST + 1}", *values)
        return Found(_rows(found), len(found), older=len(found) > PAGE, newer=False)
    [(number,)] = store.select(f"SELECT count(*) FROM (SELECT 1 FROM listed WHERE {where} LIMIT {MOST + 1})", *values)
    sign, order = ("<", "DESC") if to == "older" else (">", "ASC")
    found = store.select(
        f"SELECT * FROM listed WHERE {where} AND (at, id) {sign} (?, ?) "
        f"ORDER BY at {order}, id {order} LIMIT {PAGE + 1}",
        *values,
        *than,
    )
    rows, more = _rows(found), len(found) > PAGE
    if to == "newer":
        return Found(rows[::-1], number, older=True, newer=more)
    return Found(rows, number, older=more, newer=True)


def _rows(found: Sequence[tuple[Any, ...]]) -> list[Row]:
    return [Row(*row) for row in found[:PAGE]]


def forks(store: Store, rows: Sequence[Row]) -> Mapping[str, Fork]:
    """Those of these answers that are forks, by id. `listed` does not say it: the answers themselves are read.

    Only in a fork's JSON is there a key of this name, and to look for it is far quicker than to parse all.
    """
    found = store.select(
        """
        SELECT id, source, coalesce((
            SELECT group_concat(call.key + 1, ', ')
            FROM json_each(answer, '$.calls') AS call, json_each(answer, '$.settings.fork.changed') AS changed
            WHERE json_extract(call.value, '$.key') = changed.key), '')
        FROM (
            SELECT id, answer, json_extract(
                iif(instr(answer, '"fork":') AND json_valid(answer), answer, '{}'), '$.settings.fork.of') AS source
            FROM answers WHERE id IN (SELECT value FROM json_each(?)))
        WHERE source IS NOT NULL""",
        to_json([row.id for row in rows]).decode(),
    )
    return {id: Fork(source, calls) for id, source, calls in found}


def choices(store: Store) -> Choices:
    """Each is there in at least one answer."""
    rows = store.select("SELECT DISTINCT state, method, model FROM listed")
    return Choices(*(sorted({row[column] for row in rows}) for column in range(3)))


def _conditions(wanted: Wanted) -> tuple[str, list[str]]:
    """The conditions in SQL, and the values of their parameters."""
    words = wanted.words.split()[:WORDS]
    conditions = ["1"] + [r"question LIKE ? ESCAPE '\'" for _ in words]
    values = [f"%{_literal(word)}%" for word in words]
    for column in ("state", "method", "model"):
        if value := getattr(wanted, column):
            conditions.append(f"{column} = ?")
            values.append(value)
    if wanted.harm in ("some", "none"):
        conditions.append("harms <> ''" if wanted.harm == "some" else "harms = ''")
    elif wanted.harm:
        conditions.append("instr(harms, ?)")
        values.append(wanted.harm)
    return " AND ".join(conditions), values


def _literal(word: str) -> str:
    """`word` for LIKE, with none of its signs meaning anything."""
    return "".join(f"\\{sign}" if sign in "\\%_" else sign for sign in word)
