"""The file of a rating, `rating.db`: its items, its raters, what each of them is shown, and every rating.

A rating is committed before anything is answered, and counts once however often it arrives. Nothing is deleted: a
rating that is undone stays, with the time at which it was undone. Owns the tables. How a file is opened: `database`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from secrets import token_urlsafe

from ...database import Database, now
from ...errors import InputError
from ...types import clean
from ..pairwise.types import Contestant, Pairing
from .design import showings
from .types import Given, Item, Rated, Rater, Showing

MIGRATIONS = {
    "0101_comparisons": "CREATE TABLE comparisons (number INTEGER PRIMARY KEY, content TEXT NOT NULL)",
    "0102_items": "CREATE TABLE items (id TEXT PRIMARY KEY, place INTEGER NOT NULL, content TEXT NOT NULL)",
    "0103_raters": """
        CREATE TABLE raters (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE UNIQUE, link TEXT NOT NULL UNIQUE,
            at TEXT NOT NULL
        )""",
    "0104_showings": """
        CREATE TABLE showings (
            id TEXT PRIMARY KEY, rater INTEGER NOT NULL, place INTEGER NOT NULL, item TEXT NOT NULL, as_a TEXT NOT NULL,
            again INTEGER NOT NULL, UNIQUE (rater, place)
        )""",
    "0105_ratings": """
        CREATE TABLE ratings (
            id INTEGER PRIMARY KEY, showing TEXT NOT NULL, level TEXT NOT NULL, reason TEXT NOT NULL,
            harm TEXT NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL, undone TEXT
        )""",
    "0106_one_rating": "CREATE UNIQUE INDEX one_rating ON ratings (showing) WHERE undone IS NULL",
}
SHOWING = "showings.id, place, item, as_a, again"
RATING = "level, reason, harm, seconds"
NAME_LIMIT = 60  # characters
MOST_RATERS = 500  # where anybody who has the address may rate


class Ratings(Database):
    """An open file of ratings. Use as a context manager, in one thread. Raises StoreError."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, MIGRATIONS, read_only=read_only)

    def __enter__(self) -> Ratings:
        return self

    def begin(self, pairings: Sequence[Pairing], items: Sequence[Item]) -> None:
        """Writes what is rated, in place of an earlier design and of its raters.

        Raises InputError if a rating has come in meanwhile: no rating is ever deleted.
        """
        with self.transaction() as db:
            if db.execute("SELECT 1 FROM ratings LIMIT 1").fetchone():
                raise InputError("somebody has begun to rate, so what is rated stays as it is; give another folder")
            for table in ("comparisons", "items", "raters", "showings"):
                db.execute(f"DELETE FROM {table}")
            rows = [(number, _without_answers(each).model_dump_json()) for number, each in enumerate(pairings)]
            db.executemany("INSERT INTO comparisons VALUES (?, ?)", rows)
            entries = [(item.id, place, item.model_dump_json()) for place, item in enumerate(items)]
            db.executemany("INSERT INTO items VALUES (?, ?, ?)", entries)

    def pairings(self) -> list[Pairing]:
        """The runs that are compared, without pairs."""
        rows = self.select("SELECT content FROM comparisons ORDER BY number")
        return [Pairing.model_validate_json(content) for (content,) in rows]

    def items(self) -> list[Item]:
        return [Item.model_validate_json(row) for (row,) in self.select("SELECT content FROM items ORDER BY place")]

    def item(self, id: str) -> Item:
        return Item.model_validate_json(self.select("SELECT content FROM items WHERE id = ?", id)[0][0])

    def begun(self) -> bool:
        """Whether anything was ever rated."""
        return bool(self.select("SELECT 1 FROM ratings LIMIT 1"))

    def add_rater(self, name: str, seed: int, per_rater: int | None, repeats: int) -> Rater:
        """A new rater, with what they are shown. Raises InputError if the name can't be used or is taken."""
        name = usable(name)
        with self.transaction() as db:
            if db.execute("SELECT 1 FROM raters WHERE name = ?", (name,)).fetchone():
                raise InputError(f"the name {name} is taken; open your own link, or give another name")
            (count,) = db.execute("SELECT count(*) FROM raters").fetchone()
            if count >= MOST_RATERS:
                raise InputError(f"there are {MOST_RATERS} raters already, and no more can rate here")
            rows = db.execute("SELECT item, count(*) FROM showings WHERE NOT again GROUP BY item")
            shown = showings(self.items(), Counter(dict(rows)), name, seed, per_rater, repeats)
            link = token_urlsafe(16)
            row = (name, link, now())
            id = db.execute("INSERT INTO raters (name, link, at) VALUES (?, ?, ?)", row).lastrowid
            assert id is not None
            entries = [(each.id, id, each.place, each.item, each.as_a, each.again) for each in shown]
            db.executemany("INSERT INTO showings VALUES (?, ?, ?, ?, ?, ?)", entries)
        return Rater(id=id, name=name, link=link)

    def raters(self) -> list[Rater]:
        rows = self.select("SELECT id, name, link FROM raters ORDER BY id")
        return [Rater(id=id, name=name, link=link) for id, name, link in rows]

    def rater(self, link: str) -> Rater | None:
        """The rater whose secret link this is."""
        rows = self.select("SELECT id, name, link FROM raters WHERE link = ?", clean(link))
        return Rater(id=rows[0][0], name=rows[0][1], link=rows[0][2]) if rows else None

    def progress(self, rater: Rater) -> tuple[int, int]:
        """How many showings the rater has rated, and how many there are."""
        return self.select(
            "SELECT count(ratings.id), count(*) FROM showings LEFT JOIN ratings ON showing = showings.id "
            "AND undone IS NULL WHERE rater = ?",
            rater.id,
        )[0]

    def next(self, rater: Rater) -> Showing | None:
        """The first showing that the rater has not rated. None if all are rated."""
        rows = self.select(
            f"SELECT {SHOWING} FROM showings WHERE rater = ? AND NOT EXISTS "
            "(SELECT 1 FROM ratings WHERE showing = showings.id AND undone IS NULL) ORDER BY place LIMIT 1",
            rater.id,
        )
        return _showing(rows[0]) if rows else None

    def rate(self, rater: Rater, showing: str, given: Given) -> bool:
        """Commits the rating. False, and nothing is written, if this showing is rated already.

        Raises InputError if the rater is not shown it.
        """
        row = (showing, given.level, clean(given.reason), given.harm, given.seconds, now())
        with self.transaction() as db:
            if not db.execute("SELECT 1 FROM showings WHERE id = ? AND rater = ?", (showing, rater.id)).fetchone():
                raise InputError("this pair is not among yours; go back to your own page")
            cursor = db.execute(
                "INSERT OR IGNORE INTO ratings (showing, level, reason, harm, seconds, at) VALUES (?, ?, ?, ?, ?, ?)",
                row,
            )
            return cursor.rowcount > 0

    def latest(self, rater: Rater) -> tuple[int, Showing, Given] | None:
        """The rating that an undo takes back, with its number: the newest one that counts."""
        return self._newest(rater, "undone IS NULL")

    def undone(self, rater: Rater, showing: Showing) -> Given | None:
        """What the rater said of this showing before they took it back."""
        found = self._newest(rater, "undone IS NOT NULL AND showing = ?", showing.id)
        return found[2] if found else None

    def _newest(self, rater: Rater, where: str, *values: str) -> tuple[int, Showing, Given] | None:
        rows = self.select(
            f"SELECT ratings.id, {SHOWING}, {RATING} FROM ratings JOIN showings ON showing = showings.id "
            f"WHERE rater = ? AND {where} ORDER BY ratings.id DESC LIMIT 1",
            rater.id,
            *values,
        )
        return (rows[0][0], _showing(rows[0][1:6]), _given(rows[0][6:])) if rows else None

    def undo(self, rater: Rater, number: int) -> bool:
        """Takes the rating with this number back. False if it does not count, so that no undo counts twice."""
        with self.transaction() as db:
            cursor = db.execute(
                "UPDATE ratings SET undone = ? WHERE id = ? AND undone IS NULL "
                "AND showing IN (SELECT id FROM showings WHERE rater = ?)",
                (now(), number, rater.id),
            )
            return cursor.rowcount > 0

    def rated(self) -> list[Rated]:
        """Every rating that counts, by rater, in the order of the showings."""
        rows = self.select(
            f"SELECT raters.name, {SHOWING}, {RATING} FROM ratings JOIN showings ON showing = showings.id "
            "JOIN raters ON rater = raters.id WHERE undone IS NULL ORDER BY raters.id, place"
        )
        return [Rated(rater=row[0], showing=_showing(row[1:6]), given=_given(row[6:])) for row in rows]

    def all_showings(self) -> list[tuple[str, Showing]]:
        """What every rater is shown, with the rater's name."""
        rows = self.select(
            f"SELECT raters.name, {SHOWING} FROM showings JOIN raters ON rater = raters.id ORDER BY raters.id, place"
        )
        return [(row[0], _showing(row[1:])) for row in rows]


def usable(name: str) -> str:
    """The name on one line. Raises InputError if it is empty or too long."""
    name = " ".join(clean(name).split())
    if not 0 < len(name) <= NAME_LIMIT:
        raise InputError(f"a rater's name has 1 to {NAME_LIMIT} characters (got {len(name)})")
    return name


def _showing(row: Sequence[object]) -> Showing:
    id, place, item, as_a, again = row
    return Showing.model_validate({"id": id, "place": place, "item": item, "as_a": as_a, "again": bool(again)})


def _given(row: Sequence[object]) -> Given:
    level, reason, harm, seconds = row
    return Given.model_validate({"level": level, "reason": reason, "harm": harm, "seconds": seconds})


def _without_answers(pairing: Pairing) -> Pairing:
    def bare(run: Contestant) -> Contestant:
        return run.model_copy(update={"answers": {}, "unanswered": {}})

    return Pairing(
        candidate=bare(pairing.candidate), baseline=bare(pairing.baseline), pairs=(), left_out=pairing.left_out
    )
