"""The command line as a user sees it: a scene, the record and the key, against the fake endpoint over real HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from matrix_align import Question, Store

from .conftest import ASKED, Run, answer_of, beside_weights, complaint
from .fake import FakeServer, error
from .records import change


def test_prints_the_scene_at_80_columns(simulate: Run, server: FakeServer) -> None:
    """Standard output shows the question, setting, roles, all events, both responses and the figures. Nothing else."""
    server.on["text"] = lambda body: (
        "Ask 日本の上司 first. " * 9 if server.kinds().count("text") == 1 else "Wait a week."
    )
    done = simulate(ASKED)
    assert (done.returncode, beside_weights(done.stderr)) == (0, "")
    for part in (ASKED, "Initial response", "日本の上司", "setting thing", "Plan", "step 1", "step 2", "seen by"):
        assert part in done.stdout
    for part in (
        "The end: steps finished",
        "Weeks later",
        "harm: loses, by the answer",
        "Critique",
        "Better:",
        "Revised response",
        "Wait a week.",
        "depth",
        "cached",
    ):
        assert part in done.stdout
    requests = len(server.requests)
    assert f"{requests} calls · " in done.stdout
    assert max(map(cell_len, done.stdout.splitlines())) <= 80


def test_what_a_model_wrote_is_no_markup_and_moves_no_cursor(simulate: Run, server: FakeServer) -> None:
    server.on["text"] = lambda body: "Use [bold]brackets[/bold] and \x1b[2J\x1b]0;title\x07 [/nothing]."
    done = simulate(ASKED)
    assert done.returncode == 0
    assert "[bold]brackets[/bold]" in done.stdout
    assert "\x1b" not in done.stdout


def test_json_is_one_object_and_nothing_else(simulate: Run) -> None:
    answer = answer_of(simulate(ASKED, "--json", "--seed", "4"))
    assert answer.question == Question(text=ASKED)
    assert (answer.settings, answer.sampling.seed) == (
        {"roles": 3, "steps": 2, "memory": 20_000, "detail": "full", "without": []},
        4,
    )
    assert answer.ending
    assert answer.text
    assert answer.usage.cached_tokens > 0


def test_chat_gives_earlier_turns_and_a_system_prompt(simulate: Run, server: FakeServer, tmp_path: Path) -> None:
    chat = [("system", "Be brief."), ("user", "I work in a bakery."), ("assistant", "I see."), ("user", ASKED)]
    file = tmp_path / "chat.json"
    file.write_text(json.dumps([{"role": role, "content": content} for role, content in chat]))
    answer = answer_of(simulate("--chat", str(file), "--json"))
    assert answer.question.text == ASKED
    assert answer.question.system == "Be brief."
    assert server.requests[0]["messages"] == json.loads(file.read_text())


def test_question_from_standard_input(simulate: Run) -> None:
    answer = answer_of(simulate("-", "--json", stdin=f"{ASKED}\nI have worked there for two years.\n"))
    assert answer.question.text == f"{ASKED}\nI have worked there for two years."


def test_the_same_command_again_asks_for_nothing(simulate: Run, server: FakeServer) -> None:
    """The scene is the same, but its calls come from the record. Another seed gives another scene."""
    first = answer_of(simulate(ASKED, "--json"))
    requests = len(server.requests)
    again = answer_of(simulate(ASKED, "--json"))
    assert len(server.requests) == requests
    assert all(call.recorded for call in again.calls)
    calls = tuple(call.model_copy(update={"recorded": False}) for call in again.calls)
    assert again.evolve(calls=calls).model_dump() == first.model_dump()
    assert f"{requests} from the record" in simulate(ASKED).stdout
    assert len(server.requests) == requests
    assert answer_of(simulate(ASKED, "--json", "--seed", "1")).id != first.id
    assert len(server.requests) == 2 * requests


def test_scenes_lists_and_shows(simulate: Run, cli: Run) -> None:
    """The list is newest first. A scene prints again as it was, by its id or the beginning of its id."""
    printed = simulate(ASKED).stdout
    first = answer_of(simulate(ASKED, "--json"))
    second = answer_of(simulate("Do I [b]ask[/b] a bicycle? " * 9, "--json"))
    listed = cli("scenes").stdout
    assert listed.index(second.id) < listed.index(first.id)
    assert "Do I [b]ask[/b]" in listed
    assert max(map(cell_len, listed.splitlines())) <= 80
    rows = json.loads(cli("scenes", "--json").stdout)
    assert [(row["id"], row["state"], row["calls"]) for row in rows] == [
        (answer.id, "steps finished", len(answer.calls)) for answer in (second, first)
    ]
    assert len(json.loads(cli("scenes", "--json", "--limit", "1").stdout)) == 1
    assert answer_of(cli("scenes", "show", first.id, "--json")) == first
    for id in (first.id, first.id[:6]):
        shown = cli("scenes", "show", id)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert shown.stdout.split(" calls ")[0] == printed.split(" calls ")[0]


def test_a_scene_of_another_version(simulate: Run, cli: Run, tmp_path: Path) -> None:
    """Its parts have another form. One line says so, and its JSON can still be had."""
    answer = answer_of(simulate(ASKED, "--json", "--store", str(tmp_path / "old.db")))
    change(tmp_path / "old.db", "UPDATE answers SET answer = replace(answer, 'steps finished', 'plan done')")
    where = ("--store", str(tmp_path / "old.db"))
    said = complaint(cli("scenes", "show", answer.id, *where))
    assert answer.id in said and "another version" in said
    assert "plan done" in cli("scenes", "show", answer.id, "--json", *where).stdout


def test_an_answer_that_stands_is_printed_once(simulate: Run, server: FakeServer) -> None:
    calm = {"missing": ""}

    def weeks_later(body: dict[str, Any]) -> Any:
        reply = server.default(body)
        return reply | calm | {"fates": [fate | {"harm": "none"} for fate in reply["fates"]]}

    server.on |= {"Aftermath": weeks_later, "text": lambda _: "Ask her on a quiet day."}
    printed = simulate(ASKED).stdout
    assert "Initial response, which stands" in printed and "Revised response" not in printed
    assert printed.split("Nothing to change")[1].count("Ask her on a quiet day.") == 1


def test_a_point_that_cites_nothing(simulate: Run, server: FakeServer) -> None:
    point = {"incidents": [], "quotes": [], "problem": "It names no price.", "change": "Name one."}
    server.on["Critique"] = lambda _: {"points": [point]}
    printed = simulate(ASKED).stdout
    assert " It names no price.  Better: Name one." in printed and "“”" not in printed


def test_scenes_of_an_empty_record(cli: Run, tmp_path: Path) -> None:
    """Listing the scenes of a record that does not exist creates no file."""
    assert "there is no record" in complaint(cli("scenes"))
    assert not (tmp_path / "scenes.db").exists()
    Store(tmp_path / "scenes.db").__exit__()
    assert "No scenes yet" in cli("scenes").stdout
    assert cli("scenes", "--json").stdout == "[]\n"


# The key.


def test_key_comes_from_the_environment(simulate: Run, server: FakeServer) -> None:
    """MATRIX_ALIGN_API_KEY comes before OPENAI_API_KEY. Without either, no key is sent."""
    keys = {"OPENAI_API_KEY": "key-of-openai"}
    assert simulate(ASKED, **keys, MATRIX_ALIGN_API_KEY="key-of-ours").returncode == 0
    assert simulate(ASKED, "--seed", "1", **keys).returncode == 0
    assert simulate(ASKED, "--seed", "2").returncode == 0
    sent = dict.fromkeys(headers.get("Authorization") for headers in server.headers)
    assert list(sent) == ["Bearer key-of-ours", "Bearer key-of-openai", None]


def test_key_is_never_printed_nor_stored(simulate: Run, server: FakeServer, tmp_path: Path) -> None:
    """This holds even if the server repeats the key in its refusal or in the reason of its status."""
    key = "key-0123456789"
    said = simulate(ASKED, MATRIX_ALIGN_API_KEY=key).stdout
    server.faults = [lambda request: error(403, f"{key} may not do this")]
    said += simulate(ASKED, "--seed", "1", MATRIX_ALIGN_API_KEY=key).stderr
    assert "may not do this" in said
    server.faults = [lambda request: empty_refusal(f"No {key} here")]
    said += simulate(ASKED, "--seed", "2", MATRIX_ALIGN_API_KEY=key).stderr
    assert "answered 418" in said
    assert key not in said
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("scenes.db*"))
    assert b"may not do this" in kept
    assert key.encode() not in kept


def empty_refusal(reason: str) -> Any:
    answer = error(418, "")
    answer.body = b""
    answer.set_status(418, reason)
    return answer
