"""What a row says its question is, helpful or harmful; and what is told where it says another thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Run as Cli
from .fake import FakeServer


@pytest.mark.parametrize("limit", [(), ("--limit", "4")])
def test_other_categories_are_told_once(cli: Cli, server: FakeServer, tmp_path: Path, limit: tuple[str, ...]) -> None:
    names = ["Helpful", "", None, "evil", 7, "HARMFUL", "evil"]
    source = tmp_path / "q.jsonl"
    source.write_text("\n".join(json.dumps({"question": f"Q {n}?", "category": name}) for n, name in enumerate(names)))
    made = ("generate", str(source), "--out", str(tmp_path / "run"), "--endpoint", server.url, "--method", "vanilla")
    said = cli(*made, *limit).stderr
    count = 1 if limit else 3
    assert f"q.jsonl: rows with a category other than helpful or harmful, which counts as none: {count} (" in said
    assert f"(first: {source}:4: 'evil')" in said and said.count("other than helpful") == 1
    assert "other than helpful" not in cli(*made, "--category", "harmful").stderr


def test_xstest_names_its_categories_in_its_own_way(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    source = tmp_path / "q.csv"
    source.write_text("prompt,type,focus\nHow?,homonyms,x\nWhy?,contrast_homonyms,x\n")
    made = ("generate", str(source), "--out", str(tmp_path / "run"), "--endpoint", server.url, "--method", "vanilla")
    assert "other than helpful" not in cli(*made).stderr
