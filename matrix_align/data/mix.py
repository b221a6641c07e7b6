"""Which rows of a run are exported, and which questions are held out for the test file.

Owns the sample of each kind, and the draw of the test questions. Both follow from a seed alone. Knows a row only by its
kind and by the id of its question.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import InputError

Usable = tuple[str, str]  # the kind of a row that can be written, and the id of its question


@dataclass(frozen=True)
class Choice:
    """`quotas` gives for each kind (how many rows to take, how many there are); None takes every row.

    `test` holds the ids of the questions that are held out.
    """

    quotas: Mapping[str, tuple[int, int]] | None = None
    test: frozenset[str] = field(default_factory=frozenset)


def choice(usable: Iterable[Usable], mix: Mapping[str, float], test: float, seed: int) -> Choice:
    """Chooses among all rows that can be written.

    Raises InputError where `mix` wants a kind of which there are no rows.
    """
    counts, every = Counter[str](), dict[Usable, Usable]()
    rows = [every.setdefault(row, row) for row in usable]  # one object for each question, not for each row
    counts.update(kind for kind, _ in rows)
    quotas = _quotas(counts, mix) if mix else None
    sample = Sample(quotas, seed)
    return Choice(quotas, _held_out({question for kind, question in rows if sample.takes(kind)}, test, seed))


class Sample:
    """Decides for one row after another whether it is taken. Of each kind, takes a sample of exactly its quota."""

    def __init__(self, quotas: Mapping[str, tuple[int, int]] | None, seed: int) -> None:
        self._quotas = quotas
        self._seed = seed
        self._seen = Counter[str]()
        self._taken = Counter[str]()

    def takes(self, kind: str) -> bool:
        """Whether the next row, which is of this kind, is taken."""
        if self._quotas is None:
            return True
        quota, count = self._quotas.get(kind, (0, 0))
        left = count - self._seen[kind]
        self._seen[kind] += 1
        # Selection sampling (Knuth, The Art of Computer Programming, vol. 2, 3.4.2, algorithm S).
        missing = quota - self._taken[kind]
        taken = missing > 0 and _drawn(f"mix {self._seed} {kind} {self._seen[kind]}") * left < missing
        self._taken[kind] += taken
        return taken


def _quotas(usable: Counter[str], mix: Mapping[str, float]) -> dict[str, tuple[int, int]]:
    """For each kind of row, how many to take and how many there are. The scarcest kind decides."""
    wanted = {kind: share for kind, share in mix.items() if share > 0}
    if not wanted:
        raise InputError("--mix takes nothing: every share in it is 0")
    if missing := [kind for kind in wanted if not usable[kind]]:
        counted = ", ".join(f"{count:,} {kind}" for kind, count in sorted(usable.items())) or "nothing"
        raise InputError(f"--mix wants {missing[0]} rows and there are none (there are {counted}); see --category")
    unit = min(usable[kind] / share for kind, share in wanted.items())
    return {kind: (int(unit * share + 1e-9), usable[kind]) for kind, share in wanted.items()}


def _held_out(questions: set[str], test: float, seed: int) -> frozenset[str]:
    """The share `test` of the questions, rounded: at least one, and not the last one. One question is never split."""
    if not test or len(questions) < 2:
        return frozenset()
    count = min(max(round(test * len(questions)), 1), len(questions) - 1)
    return frozenset(sorted(questions, key=lambda question: _drawn(f"split {seed} {question}"))[:count])


def _drawn(text: str) -> float:
    """A number in [0, 1) that depends only on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48
