"""Which questions of several sources are taken under a limit, and which are held out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_align.data.sources import SourceRow, questions_from
from matrix_align.data.split import gathered, in_turn, split, write_source
from matrix_align.errors import InputError


def source(path: Path, count: int, category: str = "") -> str:
    """A file of questions that no other file has."""
    rows = [{"question": f"{path.stem} {number}?", "category": category} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def taken(sources: list[str], limit: int | None) -> tuple[Counter[str], Counter[str]]:
    """The number of questions of each category, and of each source."""
    rows, _ = gathered(sources, "", limit)
    return Counter(row.category for row in rows), Counter(row.source for row in rows)


def test_a_limit_is_shared_by_categories_and_sources(tmp_path: Path) -> None:
    """The order does not matter. If one has too few, the others give more."""
    helpful = source(tmp_path / "helpful.jsonl", 200, "helpful")
    harmful = source(tmp_path / "harmful.jsonl", 200, "harmful")
    assert taken([helpful, harmful], 100)[0] == {"helpful": 50, "harmful": 50}
    assert taken([helpful, harmful], None)[0] == {"helpful": 200, "harmful": 200}
    assert taken([helpful, harmful], 1000)[0] == {"helpful": 200, "harmful": 200}
    few = source(tmp_path / "few.jsonl", 10, "harmful")
    assert taken([helpful, few], 100)[0] == {"helpful": 90, "harmful": 10}
    more = source(tmp_path / "more.jsonl", 200, "helpful")
    categories, sources = taken([helpful, more, harmful], 100)
    assert categories == {"helpful": 50, "harmful": 50}
    assert sources == {"helpful.jsonl": 25, "more.jsonl": 25, "harmful.jsonl": 50}
    one, other = (source(tmp_path / f"{name}.jsonl", 60) for name in ("one", "other"))
    assert taken([one, other], 50)[1] == {"one.jsonl": 25, "other.jsonl": 25}


def test_one_file_of_both_categories(tmp_path: Path) -> None:
    """One category comes after the other. Rows keep their order, each question once, and bad rows are reported."""
    path = tmp_path / "both.jsonl"
    rows = [{"question": f"Q {n}?", "category": "helpful" if n < 200 else "harmful"} for n in range(400)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]) + "no row\n")
    found, faults = gathered([str(path), str(path)], "", 100)
    assert [row.category for row in found] == ["helpful"] * 50 + ["harmful"] * 50
    assert [fault.place for fault in faults] == [f"{path}:402"] * 2


@given(st.lists(st.lists(st.integers()), max_size=5))
def test_in_turn_loses_nothing(groups: list[list[int]]) -> None:
    merged = list(in_turn(groups))
    assert Counter(merged) == Counter(each for group in groups for each in group)
    assert merged[: sum(map(bool, groups))] == [group[0] for group in groups if group]


def test_no_conversation_is_on_both_sides(tmp_path: Path) -> None:
    """Some of each category is held out. What is written reads back the same."""
    path, out = tmp_path / "talks.jsonl", tmp_path / "out.jsonl"
    rows = []
    for number in range(40):
        talk = [{"role": "user", "content": f"Talk {number}?"}]
        longer = [*talk, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"}]
        rows += [{"messages": each, "category": ("helpful", "harmful")[number % 2]} for each in (talk, longer)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, _ = gathered([str(path)], "", None)
    held, others = split(found, 0.2)
    assert Counter(row.category for row in held) == {"helpful": 8, "harmful": 8}
    assert len(held) + len(others) == 80
    assert not {row.question.opening() for row in held} & {row.question.opening() for row in others}
    write_source(out, held)
    again = list(questions_from(str(out)))
    assert all(isinstance(row, SourceRow) for row in again)
    assert [(row.question, row.category) for row in again if isinstance(row, SourceRow)] == [
        (row.question, row.category) for row in held
    ]
    with pytest.raises(InputError, match="0 of 20 helpful questions would be held out"):
        split(found, 0.01)
