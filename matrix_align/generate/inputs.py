"""The questions of a run, in its record: the source and the state of each.

Knows no server and no method.
"""

from __future__ import annotations

import hashlib
import heapq
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from ..data.sources import BadRow, Category, SourceRow
from ..data.split import in_turn
from ..store import Store
from ..types import Answer, Question

PAGE = 500  # inputs written or read together


@dataclass(frozen=True)
class Input:
    """One question to answer. `place` and `question_id` are its key in the record."""

    place: str
    question_id: str
    question: Question
    category: Category


class Inputs:
    """The inputs in `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(
        self, sources: Sequence[Iterable[SourceRow | BadRow]], limit: int | None = None, shuffle: int | None = None
    ) -> int:
        """Adds the rows of all sources, each question once, at most `limit`. Returns how many changed their category.

        Questions that the run already has keep their answers. A question that is now on another line has moved there. A
        bad row that was fixed is no longer a bad row. A new category replaces an earlier one. A limit takes from each
        source in turn. `shuffle` orders the questions by hashes drawn from that seed: those of each source if there is
        a limit, otherwise all together.
        """
        if shuffle is not None and limit:
            sources = [_sample(source, limit, shuffle) for source in sources]
        rows = iter(in_turn(sources) if limit else chain.from_iterable(sources))
        if shuffle is not None and not limit:
            rows = iter(sorted(rows, key=lambda row: _drawn(row, shuffle)))
        first, take = self._store.select("SELECT coalesce(max(rank), 0) + 1, coalesce(max(taken), 0) + 1 FROM inputs")[
            0
        ]
        left, files, changes = limit, set[str](), 0
        while (left is None or left > 0) and (page := list(islice(rows, min(PAGE, left or PAGE)))):
            with self._store.transaction() as db:
                fresh = sum(_noted(db, row, number, take) for number, row in enumerate(page, start=first))
                changes += sum(_recategorised(db, row) for row in page if isinstance(row, SourceRow) and row.category)
            files |= {_file(row.place) for row in page}
            first += len(page)
            left = None if left is None else left - fresh
        if limit is None:  # without a limit these files were read to their ends
            with self._store.transaction() as db:
                for file in files:
                    db.execute(
                        "DELETE FROM inputs WHERE state IN ('bad row', 'duplicate') AND taken < ? "
                        "AND substr(place, 1, ?) = ?",
                        (take, len(file), file),
                    )
        return changes

    def waiting(self, only_failed: bool = False) -> Iterator[Input]:
        """The inputs to answer, page by page: first those that failed before, then the others unless `only_failed`."""
        for state in ("again",) if only_failed else ("again", "waiting"):
            rank = -1
            while page := self._store.select(
                "SELECT place, question, content, category, rank FROM inputs "
                "WHERE state = ? AND rank > ? ORDER BY rank LIMIT ?",
                state,
                rank,
                PAGE,
            ):
                for place, key, content, category, rank in page:
                    yield Input(place, key, Question.model_validate_json(content), category)

    def retry_failed(self) -> int:
        """Marks the failed inputs to be answered again. Returns how many wait for that."""
        if self._store.select("SELECT 1 FROM inputs WHERE state = 'failed' AND reason LIKE 'ContextOverflow%' LIMIT 1"):
            self._store.forget_overflows()
        with self._store.transaction() as db:
            db.execute("UPDATE inputs SET state = 'again' WHERE state = 'failed'")
        return int(self._store.select("SELECT count(*) FROM inputs WHERE state = 'again'")[0][0])

    def close(self, entry: Input, answer: Answer) -> None:
        """Writes a complete or failed answer and the state of its input, in one commit."""
        state, reason = ("failed", answer.error) if answer.error else ("done", "")
        with self._store.transaction() as db:
            self._store.put(answer)
            db.execute(
                "UPDATE inputs SET state = ?, reason = ?, answer = ? WHERE place = ? AND question = ?",
                (state, reason, answer.id, entry.place, entry.question_id),
            )

    def counts(self) -> dict[str, int]:
        """The number of inputs in each state. Failures are counted by their class."""
        rows = self._store.select(
            "SELECT CASE WHEN state = 'failed' THEN 'failed: ' || substr(reason, 1, instr(reason, ':') - 1) "
            "ELSE state END AS became, count(*) FROM inputs GROUP BY became ORDER BY became"
        )
        return dict(rows)

    def faults(self, limit: int = 20) -> list[tuple[str, str, str]]:
        """(place, state, reason) of the first inputs that could not be used or answered."""
        found = self._store.select(
            "SELECT place, state, reason FROM inputs WHERE state IN ('bad row', 'failed') ORDER BY rank LIMIT ?", limit
        )
        return [(place, state, reason) for place, state, reason in found]

    def unanswered(self) -> Iterator[tuple[Question, str, str]]:
        """(question, state, reason) of every question that has no answer: it failed, or waits for its turn."""
        for content, state, reason in self._store.select(
            "SELECT content, state, reason FROM inputs WHERE state IN ('failed', 'again', 'waiting') ORDER BY rank"
        ):
            yield Question.model_validate_json(content), state, reason

    def answers(self) -> Iterator[tuple[Answer, str, str]]:
        """(answer, category, source) of every input that is done, in order."""
        last = -1
        while page := self._store.select(
            "SELECT i.rank, a.answer, i.category, i.source FROM inputs i JOIN answers a ON a.id = i.answer "
            "WHERE i.state = 'done' AND i.rank > ? ORDER BY i.rank LIMIT 100",
            last,
        ):
            for last, answer, category, source in page:
                yield Answer.model_validate_json(answer), category, source


def _file(place: str) -> str:
    return place.rpartition(":")[0] + ":"


def _key(row: SourceRow) -> tuple[str, str]:
    content = row.question.model_dump_json()
    return content, hashlib.sha256(content.encode()).hexdigest()[:16]


def _recategorised(db: sqlite3.Connection, row: SourceRow) -> int:
    """Gives a question of the run its row's category. Returns 1 if that is a change."""
    return db.execute(
        "UPDATE inputs SET category = ? WHERE place = ? AND question = ? AND category != ?",
        (row.category, row.place, _key(row)[1], row.category),
    ).rowcount


def _noted(db: sqlite3.Connection, row: SourceRow | BadRow, rank: int, take: int) -> bool:
    """Writes one row. Returns whether it is a question that this `take` has not met before."""
    insert = "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)"
    if isinstance(row, BadRow):
        db.execute(insert, (row.place, "", rank, "bad row", row.source, "", "", row.reason, take))
        return False
    content, key = _key(row)
    db.execute("DELETE FROM inputs WHERE place = ? AND state = 'bad row'", (row.place,))
    there = db.execute("SELECT place, state = 'duplicate', taken FROM inputs WHERE question = ?", (key,)).fetchall()
    same = [each for each in there if each[0] == row.place]
    moved = [each for each in there if _file(each[0]) == _file(row.place) and each[2] != take and not each[1]]
    if found := same or moved:
        place, again, taken = found[0]
        db.execute(
            "UPDATE inputs SET place = ?, taken = ? WHERE place = ? AND question = ?", (row.place, take, place, key)
        )
        return not again and taken != take
    state = "duplicate" if there else "waiting"
    db.execute(insert, (row.place, key, rank, state, row.source, row.category, content, "", take))
    return not there


def _sample(rows: Iterable[SourceRow | BadRow], limit: int, seed: int) -> Iterator[SourceRow | BadRow]:
    """All bad rows, then at most `limit` different questions in the order of their hashes; few rows are held."""
    questions: dict[bytes, SourceRow] = {}
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        questions.setdefault(_drawn(row, seed), row)
        if len(questions) > 2 * limit + PAGE:
            questions = {drawn: questions[drawn] for drawn in heapq.nsmallest(limit, questions)}
    yield from (questions[drawn] for drawn in heapq.nsmallest(limit, questions))


def _drawn(row: SourceRow | BadRow, seed: int) -> bytes:
    """A hash of the question, so that the same seed gives the same order wherever the file lies."""
    text = row.place if isinstance(row, BadRow) else _key(row)[0]
    return hashlib.sha256(f"{seed} {text}".encode()).digest()
