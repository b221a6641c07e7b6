"""A scene played on from a changed reply: what was paid for is not asked again, and the fork says what was changed."""

from __future__ import annotations

import asyncio
import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from matrix_align import Answer, Endpoint, Scene, Store
from matrix_align.llm.recorded import Recorded

from .browser import HANG, Seen, chromium, needs_chromium, opened
from .fake import FakeServer
from .gateway import serving
from .records import change, rows
from .stage import HOSTILE, scene_of_ann, stage_at
from .staged import staged

RULING = {"feasible": False, "outcome": "Nobody hears it.", "observers": [], "harm": "", "ending": "goes on"}


@pytest.fixture
def played(server: FakeServer, path: Path) -> Answer:
    """Ann's scene, in the record at `path`."""

    async def play() -> Answer:
        with Store(path) as store:
            return await scene_of_ann(server, store)

    answer = asyncio.run(play())
    server.on["text"] = lambda _: "Wait and see."
    return answer


def read(url: str) -> str:
    with urlopen(url) as page:
        return str(page.read().decode())


def forked(url: str, path: Path, answer: Answer, place: int, reply: str) -> Answer:
    """The fork, once it has been played to its end."""
    with urlopen(f"{url}/scenes/{answer.id}/calls/{place}/fork", urlencode({"reply": reply}).encode()) as page:
        id = page.url.rpartition("/")[2]
    assert "event: end" in read(f"{url}/scenes/{id}/live")
    with Store(path, read_only=True) as store:
        fork = store.answer(id)
    assert fork
    return fork


def place_of(answer: Answer, kind: str) -> int:
    """The place of the last call of this kind."""
    return max(place for place, call in enumerate(answer.calls, start=1) if call.kind == kind)


def reply_of(path: Path, answer: Answer, place: int) -> Any:
    with Store(path, read_only=True) as store:
        call = store.call(answer.calls[place - 1].key or "")
    assert call
    return json.loads(call[0])


def test_fork_of_the_last_event_of_five_by_five(server: FakeServer, path: Path) -> None:
    """No call before it is made again, and the same fork again makes none at all."""
    steps = [f"Ann knocks {number} times." for number in range(1, 6)]
    names = ("Guard", "Bank", "Door", "Aunt", "Vet")

    async def play() -> Answer:
        with Store(path) as store:
            async with Endpoint(server.url, server.name) as model:
                recorded: Any = Recorded(model, store)
                answer, _ = await staged(server, recorded, *steps, names=names, reacts=dict.fromkeys(names, "It nods."))
            store.save(answer)
            return answer

    played = asyncio.run(play())
    place = place_of(played, "verdict")
    with serving(server, path) as served:
        server.requests.clear()
        fork = forked(served.url, path, played, place, json.dumps(RULING))
        assert len(server.requests) == sum(not call.recorded for call in fork.calls)
        server.requests.clear()
        assert forked(served.url, path, played, place, json.dumps(RULING)).id == fork.id
        assert server.requests == []
    before, after = Scene.of(played), Scene.of(fork)
    assert len(before.events) >= 30
    assert after.events[: len(before.events) - 1] == before.events[:-1]
    assert after.events[len(before.events) - 1].verdict.outcome == "Nobody hears it."
    asked = [call for call in fork.calls if not call.recorded]
    assert asked
    assert min(call.depth for call in asked) > played.calls[place - 1].depth


@pytest.mark.parametrize("kind", ["opening", "step", "reaction"])
def test_a_role_or_a_move_is_changed(server: FakeServer, path: Path, played: Answer, kind: str) -> None:
    """Whatever was asked before that call is in the record; what follows is another scene, which says so."""
    place = min(place for place, call in enumerate(played.calls, start=1) if call.kind == kind)
    reply = reply_of(path, played, place)
    if kind == "opening":
        reply["roles"][0]["duty"] = "Sleep, duty-Guard-end"
    else:
        reply |= {"acts": True} if kind == "reaction" else {"as_planned": False, "when": "At noon, in the yard"}
        reply["action"] = "Somebody hums a tune."
    with serving(server, path) as served:
        server.requests.clear()
        fork = forked(served.url, path, played, place, json.dumps(reply))
        page = read(f"{served.url}/scenes/{fork.id}")
        call = read(f"{served.url}/scenes/{fork.id}/calls/{place}")
        listed = read(served.url)
        compared = read(f"{served.url}/compare?scene={played.id}&scene={fork.id}")
    assert fork.error is None
    assert len(server.requests) == sum(not call.recorded for call in fork.calls)
    depth = played.calls[place - 1].depth
    assert all(call.recorded for call in fork.calls if call.depth <= depth)
    scene = Scene.of(fork)
    assert scene.cast
    assert "Sleep" in scene.cast.roles[0].duty if kind == "opening" else "hums" in str(scene.events)
    assert f'href="#call-{place}">call {place}</a> was changed by hand' in page
    assert "Reply, changed by hand" in call
    assert re.findall(r"depth \d+ · written by hand", page) == [f"depth {depth} · written by hand"]
    marks = f'fork of <a href="/scenes/{played.id}">{played.id[:8]}</a>, call {place} changed by hand'
    assert listed.count("fork of") == listed.count(marks) == 1
    assert compared.count("A fork:") == 1
    assert f'<a href="/scenes/{fork.id}#call-{place}">call {place}</a> was changed by hand' in compared


def test_what_can_t_be_played_on_is_said(server: FakeServer, path: Path, played: Answer) -> None:
    def refusal(place: int, **headers: str) -> tuple[int, str]:
        with pytest.raises(HTTPError) as error:
            urlopen(Request(f"{served.url}/scenes/{played.id}/calls/{place}/fork", b"reply=x", headers))
        with error.value as page:
            return page.code, page.read().decode()

    with serving(server, path) as served:
        assert refusal(3, **{"Content-Length": str(1 << 21)})[0] == 413, "refused before it is sent"
        code, why = refusal(99)
        assert code == 422
        assert "does not have this call" in why
        others = played.evolve(model="another")
        change(path, "UPDATE answers SET answer = ?", others.evolve(settings={"roles": 7}).model_dump_json())
        assert "serve that model" in refusal(3)[1]
        change(path, "UPDATE answers SET answer = ?", played.model_dump_json())


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ('{"feasible": 3}', "feasible should be true or false; outcome is missing"),
        (json.dumps(RULING | {"observers": ["Nobody's Aunt"]}), "is none of"),
        (HOSTILE, "the reply holds no whole JSON object"),
    ],
)
def test_reply_of_the_wrong_form_begins_nothing(
    server: FakeServer, path: Path, played: Answer, reply: str, fault: str
) -> None:
    """The form comes back with what was typed and what is wrong with it; the list has no failed scene."""
    place = place_of(played, "verdict")
    with serving(server, path) as served:
        server.requests.clear()
        data = urlencode({"reply": reply}).encode()
        with pytest.raises(HTTPError) as error:
            urlopen(f"{served.url}/scenes/{played.id}/calls/{place}/fork", data)
        with error.value as answer:
            page = unescape(answer.read().decode())
        listed = read(served.url)
    assert error.value.code == 422
    assert fault in page
    assert f">\n{reply}</textarea>" in page
    assert "InputError" not in page
    assert listed.count('name="scene"') == 1
    assert server.requests == []


def test_a_reply_as_it_was_begins_nothing(server: FakeServer, path: Path, played: Answer) -> None:
    """A JSON reply with other spacing, a text with a browser's line ends, a fork with its change taken back."""
    text, ruling = place_of(played, "revision"), place_of(played, "verdict")

    def faults(answer: Answer, place: int, reply: str) -> str:
        with pytest.raises(HTTPError) as error:
            urlopen(f"{served.url}/scenes/{answer.id}/calls/{place}/fork", urlencode({"reply": reply}).encode())
        with error.value as page:
            assert page.code == 422
            return page.read().decode()

    with serving(server, path) as served:
        was = json.dumps(reply_of(path, played, ruling), indent=4)
        change(path, "UPDATE calls SET text = ? WHERE key = ?", "Knock.\nAsk.", played.calls[text - 1].key)
        assert "Nothing was begun: nothing was changed." in faults(played, ruling, was)
        assert "nothing was changed" in faults(played, text, "Knock.\r\nAsk.\r\n")
        fork = forked(served.url, path, played, ruling, json.dumps(RULING))
        assert "nothing was changed" in faults(fork, ruling, json.dumps(RULING, indent=1))
        assert "it is the scene as it was played" in faults(fork, ruling, was)
    assert rows(path, "SELECT count(*) FROM answers") == [(2,)]


def test_failed_scene_says_why_without_the_name_of_a_class(path: Path, played: Answer) -> None:
    for error, told in {
        "Refused: no such model": ">no such model<",
        "KeyError: 'x'": ">matrix-align itself failed",
    }.items():
        change(path, "UPDATE answers SET answer = ?", played.evolve(error=error).model_dump_json())
        with stage_at(path) as url:
            assert told in read(f"{url}/scenes/{played.id}")


@needs_chromium
def test_fork_on_the_page(server: FakeServer, path: Path, played: Answer) -> None:
    """Opened, changed and sent by keyboard; the fork's page follows it to its end."""
    place, seen = place_of(played, "verdict"), Seen()
    with serving(server, path) as served, chromium() as browser:
        page = opened(browser, f"{served.url}/scenes/{played.id}", seen)
        page.locator(f"#call-{place} summary").press("Enter")
        page.get_by_label("Another reply").fill(json.dumps(RULING))
        page.get_by_role("button", name="Play on from here").press("Enter")
        page.get_by_text("was changed by hand").wait_for(timeout=HANG)
        page.get_by_text("Nobody hears it.").first.wait_for(state="attached", timeout=HANG)
        refused = str(page.locator('[data-feasible="false"]').get_attribute("data-event"))
        page.get_by_role("slider", name="Event").fill(refused)
        picture = page.get_by_role("img", name="tries what is not feasible")
        assert picture.locator(".refused .cross").is_visible()
        assert page.locator("figcaption").get_by_text("tries what is not feasible").is_visible()
        page.get_by_role("link", name="Beside the scene as it was played").press("Enter")
        page.get_by_role("heading", name="Two scenes side by side").wait_for()
    assert seen == Seen()
