"""The settings with which a folder was made: written once, then compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_align.errors import InputError
from matrix_align.provenance import settle, tables_in

values = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
names = st.text(min_size=1, max_size=8)


@given(st.dictionaries(names, st.dictionaries(names, values, max_size=4), max_size=3))
def test_what_is_written_is_what_is_compared(tmp_path_factory: pytest.TempPathFactory, tables: dict[str, Any]) -> None:
    """A setting without a value counts as not set, because TOML has no null."""
    path = tmp_path_factory.mktemp("made") / "run.toml"
    settle(path, tables, "A note.", "run")
    settle(path, tables, "A note.", "run")
    kept = {part: {name: v for name, v in fields.items() if v is not None} for part, fields in tables.items()}
    assert tables_in(path) == kept


def test_differences_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    settle(path, {"settings": {"roles": 3, "principles": None}}, "A note.", "run")
    with pytest.raises(InputError, match=r'settings.roles was 3, is 4; settings.principles was not set, is "kind"'):
        settle(path, {"settings": {"roles": 4, "principles": "kind"}}, "A note.", "run")
    settle(path, {"settings": {"roles": 4}}, "A note.", "run", empty=True)
    assert tables_in(path) == {"settings": {"roles": 4}}
