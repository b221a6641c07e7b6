"""--without: parts of the method that an ablation switches off, from the command line to an answer's identity."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from matrix_align import Settings
from matrix_align.cli.options import Part
from matrix_align.simulation.types import PARTS

from .conftest import ASKED, Run, answer_of, complaint
from .fake import FakeServer


def test_the_option_names_every_part() -> None:
    assert tuple(Part) == PARTS


def test_parts_are_a_set() -> None:
    """In whatever order they are named, and however often, it is the same setting."""
    assert Settings(without=("gate", "words", "gate")) == Settings(without=("words", "gate"))
    assert Settings(without=PARTS[::-1]).without == PARTS
    with pytest.raises(ValueError, match="without"):
        Settings(without=("plan",))


def test_without_is_part_of_an_answers_identity(simulate: Run, server: FakeServer) -> None:
    whole = answer_of(simulate(ASKED, "--json"))
    less = answer_of(simulate(ASKED, "--json", "--without", "last-turns", "--without", "gate"))
    assert (whole.settings["without"], less.settings["without"]) == ([], ["last-turns", "gate"])
    assert whole.id != less.id
    server.requests.clear()
    again = answer_of(simulate(ASKED, "--json", "--without", "gate", "--without", "last-turns"))
    assert again.id == less.id and not server.requests, "it is in the record"
    assert len(less.calls) < len(whole.calls)


def test_run_is_made_without_a_part(cli: Run, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """The run keeps it, and goes on that way. It takes no other once it holds answers."""
    out = tmp_path / "run"
    command = ("generate", "--out", str(out), "--endpoint", server.url, "--roles", "2", "--steps", "1")
    assert cli(*command, str(questions), "--limit", "1", "--without", "last-turns").returncode == 0
    assert tomllib.loads((out / "run.toml").read_text())["settings"]["without"] == ["last-turns"]
    assert server.kinds().count("Reaction") == 2
    server.requests.clear()
    assert cli(*command, str(questions), "--limit", "2").returncode == 0
    assert server.kinds().count("Reaction") == 2, "the next question was answered the same way"
    assert "without" in complaint(cli(*command, "--without", "gate"))


@pytest.mark.parametrize("command", ["simulate", "generate"])
@pytest.mark.parametrize("part", ["last turns", "plan", ""])
def test_a_part_that_there_is_not(cli: Run, tmp_path: Path, command: str, part: str) -> None:
    """One line names those there are."""
    rest = ("How?",) if command == "simulate" else (str(tmp_path), "--out", str(tmp_path / "run"))
    said = complaint(cli(command, *rest, "--without", part))
    assert "--without" in said
    for each in PARTS:
        assert each in said


def test_a_method_without_parts(cli: Run, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    command = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url)
    said = complaint(cli(*command, "--method", "vanilla", "--without", "gate"))
    assert "--method vanilla has no setting --without" in said


def test_shown_in_json(simulate: Run) -> None:
    settings = json.loads(simulate(ASKED, "--json", "--without", "words").stdout)["settings"]
    assert settings == {"roles": 3, "steps": 2, "memory": 20_000, "detail": "full", "without": ["words"]}
