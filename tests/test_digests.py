"""--digest, and what the command line reports about a server: its weights, and what it does not accept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Run as Cli
from .fake import FakeServer, fake_server
from .test_generate import SMALL, counts


def lists(server: FakeServer, **fields: Any) -> None:
    server.listed = {"data": [{"id": server.name, **fields}]}


def test_run_is_of_one_models_weights(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    """A server restarted with other weights continues no run of the old ones, unless the user says so."""
    lists(server, root="/models/base")
    run = ("generate", "--out", str(tmp_path / "run"), "--endpoint", server.url, "--json")
    first = cli(*run, str(questions), *SMALL, "--limit", "2")
    assert counts(first) == {"done": 2}
    assert "fake-model at " in first.stderr and "what the server lists (root): listed:" in first.stderr
    digest = first.stderr.split("(root): ")[1].split()[0]
    made = len(server.requests)

    lists(server, root="/models/tuned")
    refused = cli(*run, str(questions))
    assert refused.returncode == 2
    assert f'model.digest was "{digest}", is "listed:' in refused.stderr
    assert len(server.requests) == made
    assert counts(cli(*run, str(questions), "--digest", digest)) == {"done": 12}


def test_simulate_asks_new_weights_anew(cli: Cli, server: FakeServer) -> None:
    command = ("simulate", "How do I ask for a raise?", *SMALL, "--endpoint", server.url, "--json")
    made = [0]
    for root in ("/base", "/base", "/tuned", "/base"):
        lists(server, root=root)
        assert cli(*command).returncode == 0
        made.append(len(server.requests))
    assert made[1] == made[2] < made[3] == made[4] == 2 * made[1]


def test_digest_that_is_given(cli: Cli, server: FakeServer) -> None:
    """The server is not asked for the digest, so a recorded scene shows again while the server is down."""
    lists(server, root="/base")
    command = ("simulate", "How do I ask for a raise?", *SMALL, "--model", "fake-model", "--digest", "mine", "--json")
    first = cli(*command, "--endpoint", server.url)
    assert "known by --digest 'mine'" in first.stderr
    again = cli(*command, "--endpoint", "http://127.0.0.1:1/v1")
    assert again.returncode == 0, again.stderr


def test_digest_is_for_a_server(cli: Cli) -> None:
    told = cli("simulate", "Why?", "--digest", "mine")
    assert told.returncode == 2 and "--digest goes with --endpoint" in told.stderr


def test_run_of_a_server_needs_its_endpoint(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    lists(server, root="/base")
    run = ("generate", "--out", str(tmp_path / "run"))
    assert cli(*run, str(questions), *SMALL, "--limit", "1", "--endpoint", server.url).returncode == 0
    told = cli(*run)
    assert told.returncode == 2 and "give its --endpoint URL" in told.stderr


@pytest.mark.parametrize("given", [(), ("--digest", "mine")])
def test_endpoints_that_list_one_name_differently(
    cli: Cli, server: FakeServer, questions: Path, tmp_path: Path, given: tuple[str, ...]
) -> None:
    """They may have different weights. If they don't, the user can say so."""
    with fake_server() as second:
        lists(server, root="/base")
        lists(second, root="/tuned")
        both = ("--endpoint", server.url, "--endpoint", second.url, "--model", "fake-model", *given)
        told = cli("generate", str(questions), "--out", str(tmp_path / "run"), *both, *SMALL, "--limit", "2")
    if given:
        assert told.returncode == 0, told.stderr
    else:
        assert told.returncode == 2 and "give a --digest" in told.stderr
        assert not (tmp_path / "run").exists()


def test_measurement_is_of_one_models_weights(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    lists(server, root="/base")
    command = ("measure", "--benign", str(questions), "--limit", "1", "--out", str(tmp_path / "m"))
    assert cli(*command, "--endpoint", server.url).returncode == 0
    lists(server, root="/tuned")
    told = cli(*command, "--endpoint", server.url)
    assert told.returncode == 2 and "model.digest was" in told.stderr


def test_server_that_does_not_tell(cli: Cli, server: FakeServer) -> None:
    told = cli("simulate", "Why?", *SMALL, "--endpoint", server.url, "--json")
    assert "does not tell which weights these are; name them with --digest" in told.stderr


def test_name_that_the_server_does_not_list_is_told(cli: Cli, server: FakeServer) -> None:
    told = cli("simulate", "Why?", *SMALL, "--endpoint", server.url, "--model", "wrongname")
    assert told.returncode == 0, told.stderr
    assert f"the server lists {server.name} and not wrongname; if the name is right" in told.stderr
    assert told.stderr.count("wrongname at") == 1


def test_what_a_server_does_not_take_is_said_once(cli: Cli, server: FakeServer) -> None:
    """Standard error has one line for each. Standard output holds only the JSON."""
    server.refuses = ("seed",)
    told = cli("simulate", "Why?", *SMALL, "--endpoint", server.url, "--json")
    assert told.stdout.startswith("{")
    assert told.stderr.count("accepts no seed; requests leave it out") == 1
    assert all(line.startswith("matrix-align: ") for line in told.stderr.splitlines())
