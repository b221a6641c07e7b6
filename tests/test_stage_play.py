"""Scenes that are begun on a page: played as elsewhere, followed live, and ended well whatever happens."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from aiohttp import web

from matrix_align import Store
from matrix_align.methods import METHODS
from matrix_align.web.stage import player

from .browser import HANG, Seen, chromium, needs_chromium, opened
from .conftest import HANG as SECONDS
from .fake import FakeServer, completion, error
from .gateway import hung_up, post, serving, until
from .records import answer, change, rows
from .test_gateway_faults import figures, serve

ASKED = "How do I ask my neighbour to join our choir?"
FORM = {"question": ASKED, "roles": "2", "steps": "1", "seed": "0"}


def begun(url: str, **changes: str) -> str:
    """The id of the scene that this form begins."""
    with urlopen(f"{url}/scenes", urlencode(FORM | changes).encode()) as page:
        return str(page.url).rpartition("/")[2]


def refusal(url: str, headers: dict[str, str], **changes: str) -> tuple[int, str]:
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(f"{url}/scenes", urlencode(FORM | changes).encode(), headers))
    with refused.value as page:
        return page.code, page.read().decode()


def followed(url: str, id: str) -> str:
    """All events of the live page, to its end."""
    with urlopen(f"{url}/scenes/{id}/live") as stream:
        return str(stream.read().decode())


@needs_chromium
def test_scene_is_started_on_the_page(server: FakeServer, path: Path) -> None:
    """By keyboard, in an empty record; the scene's page follows it to its end."""
    seen = Seen()
    with serving(server, path) as served, chromium() as browser:
        page = opened(browser, served.url, seen)
        page.get_by_label("Question", exact=True).fill(ASKED)
        page.get_by_label("Roles").fill("2")
        page.get_by_label("Steps").fill("1")
        page.get_by_role("button", name="Play").press("Enter")
        page.get_by_role("heading", name=ASKED).wait_for(timeout=HANG)
        page.locator("#revised-1").wait_for(timeout=HANG)
        page.get_by_role("link", name="matrix-align").press("Enter")
        page.get_by_role("link", name=ASKED).wait_for()
        assert page.get_by_label("Question", exact=True).is_hidden(), "folded once there are scenes"
    assert seen == Seen()
    assert rows(path, "SELECT question, state FROM answers") == [(ASKED, "steps finished")]


async def test_it_is_the_scene_that_the_gateway_plays(server: FakeServer, path: Path) -> None:
    """The same question with the same settings has one id, and is paid for once."""
    asked = {"model": "matrix", "messages": [{"role": "user", "content": ASKED}]}
    with serving(server, path) as served:
        id = await asyncio.to_thread(begun, served.url)
        assert "event: end" in await asyncio.to_thread(followed, served.url, id)
        calls = len(server.requests)
        _, _, headers = await post(served.url, asked | {"matrix_align": {"roles": 2, "steps": 1}})
        assert headers["X-Matrix-Align-Scene"] == id
        assert await asyncio.to_thread(begun, served.url) == id
        assert len(server.requests) == calls
        assert await asyncio.to_thread(begun, served.url, seed="1") != id


def test_what_can_t_be_begun_is_said(server: FakeServer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form comes back with what was typed, and the reason."""
    with serving(server, path) as served:
        assert refusal(served.url, {"Origin": "http://evil.example"})[0] == 403
        assert refusal(served.url, {}, question=" ")[0] == 422
        code, page = refusal(served.url, {}, question="\nMay I\n<sing>?", roles="99", seed="7")
        assert code == 422
        assert "Nothing was begun: roles should be at most 20 (got" in page
        assert ">\n\nMay I\n&lt;sing&gt;?</textarea>" in page, "HTML leaves out the first line end"
        assert re.findall(r'name="(?:roles|steps|seed)" value="([^"]*)"', page) == ["99", "1", "7"]
        assert refusal(served.url, {}, seed="x")[0] == 422
        monkeypatch.setattr(player, "MOST", 0)
        code, page = refusal(served.url, {})
        assert code == 429
        assert "try again later" in page and ASKED in page
        monkeypatch.undo()
        change(path, "CREATE TRIGGER full BEFORE INSERT ON answers BEGIN SELECT raise(ABORT, 'no room'); END")
        code, page = refusal(served.url, {})
        assert code == 503
        assert "no room" in page and ASKED in page
    assert rows(path, "SELECT * FROM answers") == []


def test_a_failure_of_any_kind_is_in_the_record(
    server: FakeServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the model's, and a fault of ours: the page ends with it, and the scene can be begun again."""

    def broken(*_: Any) -> Any:
        raise KeyError("no such step")

    with serving(server, path) as served:
        monkeypatch.setitem(METHODS["matrix"].drafts.__globals__, "play", broken)
        id = begun(served.url)
        assert '"state":"failed"' in followed(served.url, id)
        with Store(path, read_only=True) as store:
            answer = store.answer(id)
        assert answer
        assert answer.error == "KeyError: 'no such step'"
        monkeypatch.undo()
        server.on["Asker"] = server.on["Situation"] = lambda _: error(400, "no")
        assert begun(served.url) == id
        followed(served.url, id)
        assert "Refused" in rows(path, "SELECT answer FROM answers")[0][0]
        server.on.clear()
        begun(served.url)
        assert '"state":"steps finished"' in followed(served.url, id)


@needs_chromium
def test_page_says_what_is_done_about_a_scene(server: FakeServer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is played, or waits, for so long; one that another process plays, or played, last grew so long ago."""
    let_go, seen = threading.Event(), Seen()

    async def late(_: web.Request) -> Any:
        assert await asyncio.to_thread(let_go.wait, SECONDS)
        return completion("It depends. Ask first.")

    def says(id: str, words: str) -> None:
        page.goto(f"{served.url}/scenes/{id}")
        page.locator("#scene > p", has_text=re.compile(words)).wait_for()

    monkeypatch.setattr(player, "AT_ONCE", 1)
    server.on["text"] = lambda _: late
    with serving(server, path) as served, chromium() as browser:
        played, waits = begun(served.url), begun(served.url, seed="1")
        with Store(path) as store:
            store.save(answer("a" * 16))
        change(path, "UPDATE answers SET at = '2000-01-01T00:00:00.000+00:00' WHERE id = ?", "a" * 16)
        page = opened(browser, served.url, seen)
        assert page.locator('[data-label="Ending"]').all_inner_texts() == [
            *("waiting for its turn", "being played", "unfinished")
        ]
        says("a" * 16, r"unfinished last grew \d+ days ago · 0 calls")
        says(played, r"being played for [1-9]\d* s")
        says(waits, r"waiting for its turn for \d+ s · 0 calls")
        assert page.get_by_text("The method keeps none").count() == 0, "nothing is written yet"
        let_go.set()
        page.get_by_text("steps finished", exact=True).wait_for()
        assert page.locator("[data-seconds]").count() == 0
    assert seen == Seen()


async def test_what_is_begun_on_a_page_is_among_the_figures(server: FakeServer, path: Path) -> None:
    """Its calls and tokens, how it ended, and that it is being made."""
    let_go = threading.Event()

    async def late(_: web.Request) -> Any:
        assert await asyncio.to_thread(let_go.wait, SECONDS)
        return completion("It depends. Ask first.")

    server.on["text"] = lambda _: late
    with serving(server, path) as served:
        await asyncio.to_thread(begun, served.url)
        await until(lambda: server.requests)
        assert (await figures(served))["matrix_align_answers_being_made"] == 1
        let_go.set()
        async with asyncio.timeout(SECONDS):
            while (found := await figures(served))["matrix_align_answers_being_made"]:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)
    assert found['matrix_align_answers_total{ending="steps finished",method="matrix"}'] == 1
    assert found['matrix_align_calls_total{method="matrix"}'] == len(server.requests)
    assert found['matrix_align_tokens_total{kind="completion",method="matrix"}'] == 10 * len(server.requests)


async def test_what_the_record_has_stays_while_it_is_played_again(server: FakeServer, path: Path) -> None:
    """A scene that was left unfinished, and is begun on a page."""
    asked = {"model": "matrix", "messages": [{"role": "user", "content": ASKED}]}
    server.on["Aftermath"] = lambda _: hung_up
    with serving(server, path) as served:
        left = asyncio.create_task(post(served.url, asked | {"matrix_align": {"roles": 2, "steps": 1}}))
        await until(lambda: "Aftermath" in server.kinds())
        left.cancel()
        await until(lambda: served.gateway.in_flight == 0)
        [before] = rows(path, "SELECT id, state, calls FROM answers")
        assert before[1] == "unfinished" and before[2] > 0
        assert await asyncio.to_thread(begun, served.url) == before[0]
        assert rows(path, "SELECT id, state, calls FROM answers") == [before]
        await until(lambda: server.kinds().count("Aftermath") == 2)
        assert rows(path, "SELECT id, state, calls FROM answers") == [before]


def test_sigterm_lets_scenes_end_and_pages_go(tmp_path: Path, server: FakeServer) -> None:
    """The page that follows the scene is let go at once; the scene is played to its end. No other is begun."""
    let_go = threading.Event()

    async def late(_: web.Request) -> Any:
        assert await asyncio.to_thread(let_go.wait, SECONDS)
        return completion("It depends. Ask first.")

    with serve(tmp_path, server) as (process, url):
        server.on["text"] = lambda _: late
        id = begun(url)
        other = urlencode(FORM | {"seed": "1"}).encode()
        host, port = url.removeprefix("http://").split(":")
        with (
            urlopen(f"{url}/scenes/{id}/live") as stream,
            socket.create_connection((host, int(port)), SECONDS) as late_,
        ):
            head = f"POST /scenes HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(other)}"
            late_.sendall(f"{head}\r\nExpect: 100-continue\r\n\r\n".encode())
            assert b" 100 " in late_.recv(1000)
            stream.readline()
            process.send_signal(signal.SIGTERM)
            rest = stream.read().decode()
            late_.sendall(other)
            assert b" 503 " in late_.recv(1000)
        assert "event: end" not in rest
        let_go.set()
        assert process.wait(SECONDS) == 0
        assert process.stderr
        assert all(json.loads(line) for line in process.stderr)
    assert rows(tmp_path / "scenes.db", "SELECT state FROM answers") == [("steps finished",)]
