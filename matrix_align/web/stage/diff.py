"""The differences of two texts, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

MOST = 4000  # words of one text that are compared one by one; longer texts are compared line by line


class Change(NamedTuple):
    kind: Literal["same", "gone", "new"]
    text: str


def changes(before: str, after: str) -> list[Change]:
    """Both texts as one: what stayed, what is gone, what is new. Nothing of either text is lost."""
    old, new = re.findall(r"\s+|\S+\s*", before), re.findall(r"\s+|\S+\s*", after)
    if max(len(old), len(new)) > MOST:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    found: list[Change] = []
    for kind, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            found.append(Change("same", "".join(old[i:j])))
            continue
        if i < j:
            found.append(Change("gone", "".join(old[i:j])))
        if k < m:
            found.append(Change("new", "".join(new[k:m])))
    return found
