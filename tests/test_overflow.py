"""Prompts too long for the server: a run repeats the shortening it found, and `simulate` looks for it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .conftest import Run
from .fake import FakeServer, error, fill, kind
from .records import rows

ROOM = 4200  # characters: enough for every prompt without its memory
SCENE = ("--roles", "3", "--steps", "4")


def size(body: dict[str, Any]) -> int:
    return sum(len(message["content"]) for message in body["messages"])


def with_room(server: FakeServer, room: int, critiques: int = 1000) -> None:
    """A server that reads at most so many characters, and gives so many critiques. Then it is out of order."""

    def answer(body: dict[str, Any]) -> Any:
        if size(body) > room:
            return error(400, "the request exceeds the available context size")
        if kind(body) == "Critique" and server.kinds().count("Critique") > critiques:
            return error(403, "out of order")
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        return fill(schema, schema, "and so on " * 8) if schema else "It depends."

    setting_up = ("text", "Situation", "Opening", "Stance")
    kinds = (*setting_up, "Verdict", "Reaction", "Deviation", "Instead", "Aftermath", "Critique")
    server.on = dict.fromkeys(kinds, answer)
    server.requests.clear()


def test_run_goes_on_the_same_way_round(server: FakeServer, cli: Run, tmp_path: Path) -> None:
    """Even if the server accepts longer prompts by then, the scene's calls come from the record.

    None is paid for twice.
    """
    (tmp_path / "questions.txt").write_text("How do I plant a tree?\n")
    generate = ("generate", str(tmp_path / "questions.txt"), "--out", str(tmp_path / "run"), "--endpoint", server.url)
    with_room(server, ROOM, critiques=0)
    assert cli(*generate, *SCENE).returncode == 1
    record = tmp_path / "run" / "record.db"
    assert rows(record, "SELECT count(*) FROM failures WHERE error = 'ContextOverflow'")[0][0] > 3
    paid = rows(record, "SELECT count(*) FROM calls")[0][0]
    with_room(server, 10**6)
    assert cli(*generate, "--retry-failed").returncode == 0
    assert set(server.kinds()) == {"Critique", "text"}
    assert rows(record, "SELECT count(*) FROM calls")[0][0] == paid + 2


def test_retry_failed_asks_again_what_did_not_fit(server: FakeServer, cli: Run, tmp_path: Path) -> None:
    """At first nothing fits, so no prompt can be shortened and the answer fails.

    Then the server accepts longer prompts.
    """
    (tmp_path / "questions.txt").write_text("How do I plant a tree?\n")
    generate = ("generate", str(tmp_path / "questions.txt"), "--out", str(tmp_path / "run"), "--endpoint", server.url)
    with_room(server, 1)
    failed = cli(*generate, *SCENE)
    assert failed.returncode == 1 and "failed: ContextOverflow" in failed.stderr
    with_room(server, 10**6)
    done = cli(*generate, "--retry-failed")
    assert done.returncode == 0, done.stderr


def test_simulate_tries_again(server: FakeServer, cli: Run) -> None:
    """If the server accepts longer prompts now, the same command sends whole ones.

    If not, it finds its calls in the record.
    """
    simulate = ("simulate", "How do I plant a tree?", *SCENE, "--endpoint", server.url, "--json")
    with_room(server, ROOM)
    first = cli(*simulate)
    assert first.returncode == 0, first.stderr
    with_room(server, ROOM)
    assert cli(*simulate).returncode == 0
    assert server.requests and min(map(size, server.requests)) > ROOM, "only what was refused is asked again"
    with_room(server, 10**6)
    assert cli(*simulate).returncode == 0
    assert max(map(size, server.requests)) > ROOM
