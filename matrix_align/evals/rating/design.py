"""What is rated: pairs of answers and gold items, and for each rater an order and sides of their own.

Everything is drawn from a seed, so that the same command makes the same design. Knows no file of ratings.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from ...data.files import raw_rows
from ...data.preferences import preference_of
from ...data.split import in_turn
from ...errors import InputError
from ...types import Question
from ..answers import id_of
from ..pairwise.types import Pair, Pairing, Side
from .types import Item, Showing

SIDES: tuple[Side, Side] = ("candidate", "baseline")


def items(pairings: Sequence[Pairing], limit: int | None, seed: int) -> list[Item]:
    """An item for every pair of the questions that are drawn: at most `limit`, from each category in turn."""
    categories: dict[str, dict[str, None]] = {}
    for pairing in pairings:
        for pair in pairing.pairs:
            categories.setdefault(pair.category, {})[pair.question_id] = None
    drawn = random.Random(f"questions {seed}")
    groups = [sorted(ids) for _, ids in sorted(categories.items())]
    for group in groups:
        drawn.shuffle(group)
    chosen = set(islice(dict.fromkeys(in_turn(groups)), limit))
    return [
        Item(id=f"{number}.{pair.id}", kind="identical" if pair.identical else "pair", comparison=number, pair=pair)
        for number, pairing in enumerate(pairings)
        for pair in pairing.pairs
        if pair.question_id in chosen
    ]


def gold(path: Path) -> list[Item]:
    """The gold items in a file of preferences: the answer that is chosen is the better one.

    Every form of `tune --method dpo` is read. Raises InputError, with the line, for a row that is no preference.
    """
    found: dict[str, Item] = {}
    for number, row in raw_rows(path):
        try:
            if isinstance(row, ValueError):
                raise row
            preference = preference_of(row)
            *before, asked = preference.before
            system = before.pop(0).content if before and before[0].role == "system" else None
            question = Question(text=asked.content, history=tuple(before), system=system)
        except ValueError as error:
            raise InputError(f"{path}:{number} is no gold item: {error}") from None
        content = repr((question.model_dump_json(), preference.chosen, preference.rejected))
        id = "gold." + hashlib.sha256(content.encode()).hexdigest()[:16]
        category = row.get("category", "") if isinstance(row, dict) else ""
        pair = Pair(
            id=id,
            question_id=id_of(question),
            category=str(category or ""),
            question=question,
            candidate=preference.chosen,
            baseline=preference.rejected,
        )
        found[id] = Item(id=id, kind="gold", comparison=None, pair=pair)
    if not found:
        raise InputError(f"{path} holds no gold item; wanted rows with prompt, chosen and rejected")
    return list(found.values())


def showings(
    all_items: Sequence[Item], seen: Counter[str], name: str, seed: int, per_rater: int | None, repeats: int
) -> list[Showing]:
    """What the rater `name` is shown, in order: pairs and gold items mixed, then some pairs again.

    Of the pairs at most `per_rater` are taken, first those that the fewest raters have (`seen`), so that all pairs get
    about as many ratings. In half of the pairs the candidate stands as A. `repeats` pairs of the first half come again
    in the second half, with their sides exchanged; see `repeatable`. Raises InputError if so many can't.
    """
    drawn = random.Random(f"rater {seed} {name}")
    pairs = [item.id for item in all_items if item.kind == "pair"]
    drawn.shuffle(pairs)
    pairs = sorted(pairs, key=lambda id: seen[id])[:per_rater]
    shown = pairs + [item.id for item in all_items if item.kind == "gold"]
    drawn.shuffle(shown)
    sides = [SIDES[number % 2] for number in range(len(shown))]
    drawn.shuffle(sides)
    order = [(id, side, False) for id, side in zip(shown, sides, strict=True)]
    places = [place for place, (id, _, _) in enumerate(order) if not id.startswith("gold.")]
    half = repeatable(len(places))
    if repeats > half:  # in a folder of an earlier version
        raise InputError(
            f"a rater here gets {len(places)} pairs, of which {half} can come again and {repeats} should; "
            "make a new rating with `matrix-align rate new`"
        )
    for id, side, _ in drawn.sample([order[place] for place in places[:half]], repeats):
        order.insert(drawn.randint(places[half] + 1, len(order)), (id, SIDES[SIDES.index(side) - 1], True))
    return [
        Showing(id=f"{drawn.getrandbits(64):016x}", place=place, item=id, as_a=side, again=again)
        for place, (id, side, again) in enumerate(order)
    ]


def repeatable(pairs: int) -> int:
    """How many of a rater's pairs can come again: those of the first half, so that others lie in between."""
    return pairs // 2
