"""The stage over HTTP: the list of scenes, the page of one, its calls, the file to hand on, two side by side, live."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from matrix_align import Answer, Question, Scene, Store
from matrix_align.generate import schedule
from matrix_align.simulation.types import Critique
from matrix_align.store import MIGRATIONS
from matrix_align.web.stage import live

from .conftest import ASKED, SMALL, Run
from .fake import FakeServer
from .records import answer, change, rows
from .stage import HOSTILE, INITIAL, REVISED, hostile, scene_of_ann, stage_at


@pytest.fixture
def stage(store: Store, path: Path) -> Iterator[str]:
    with stage_at(path) as url:
        yield url


def read(url: str) -> str:
    with urlopen(url) as found:
        return str(found.read().decode())


def refused(url: str) -> tuple[int, str]:
    with pytest.raises(HTTPError) as error:
        urlopen(url)
    with error.value as reply:
        return reply.code, reply.read().decode()


def ids(page: str) -> list[str]:
    return re.findall(r'href="/scenes/(\w+)"', page)


def listed(stage: str, **wanted: str) -> list[str]:
    """The ids of the first page that fits."""
    return ids(read(f"{stage}/?{urlencode(wanted)}"))


def with_harms(id: str, *harms: str, **parts: Any) -> Answer:
    return answer(id, text="", scene={"aftermath": {"fates": [{"harm": harm} for harm in harms]}}, **parts)


def test_list_pages_through_all_both_ways(store: Store, stage: str) -> None:
    """Many answers of one instant too: each is on one page, the newest first."""
    names = [f"{number:016x}" for number in range(120)]
    for name in names:
        store.save(answer(name))
    pages = [read(stage)]
    while link := re.search(r'href="/\?([^"]*older=[^"]*)" rel="next"', pages[-1]):
        pages.append(read(f"{stage}/?{link[1].replace('&amp;', '&')}"))
    assert [len(ids(page)) for page in pages] == [50, 50, 20]
    assert sorted(name for page in pages for name in ids(page)) == names
    assert "120 answers" in pages[0]
    back = re.search(r'href="/\?([^"]*newer=[^"]*)" rel="prev"', pages[1])
    assert back
    assert ids(read(f"{stage}/?{back[1].replace('&amp;', '&')}")) == ids(pages[0])


def test_search_and_filters(store: Store, stage: str) -> None:
    ask = {"raise": "How do I ask for a raise?", "all": "Is 100% of it _mine_?", "tea": "Wie koche ich Tee für alle?"}
    store.save(with_harms("a1", "none", "loses", "loses", question=Question(text=ask["raise"]), model="small"))
    store.save(with_harms("b2", "deceived", "loses", question=Question(text=ask["all"]), method="vanilla"))
    store.save(with_harms("c3", "none", question=Question(text=ask["tea"]), ending="stopped"))
    store.save(answer("d4", error="Refused: no"))
    assert listed(stage) == ["d4", "c3", "b2", "a1"]
    assert listed(stage, words="RAISE how") == ["a1"]
    assert listed(stage, words="für") == ["c3"]
    assert listed(stage, words="100%") == listed(stage, words="_") == ["b2"]
    assert listed(stage, words="raise tea") == []
    assert listed(stage, harm="loses") == ["b2", "a1"]
    assert listed(stage, harm="some") == ["b2", "a1"]
    assert listed(stage, harm="none") == ["d4", "c3"]
    assert listed(stage, harm="loses", method="vanilla") == ["b2"]
    assert listed(stage, model="small") == ["a1"]
    assert listed(stage, state="failed") == ["d4"]
    assert listed(stage, state="stopped") == ["c3"]
    assert listed(stage, words="' OR 1 --", harm="'", older="no row") == []
    page = read(f"{stage}/?harm=loses")
    assert "<option selected>loses</option>" in page
    assert "deceived, loses" in page or "loses, deceived" in page


def test_list_follows_the_record(store: Store, path: Path, stage: str) -> None:
    """An answer that grows stays one row, and rows that another program has spoiled do not stop the list."""
    store.save(answer("a1"))
    store.save(with_harms("a1", "loses"))
    store.save(with_harms("a1", "pressed"))  # a complete one is replaced by a complete one
    assert [row[-1] for row in rows(path, "SELECT * FROM listed")] == ["pressed"]
    change(path, "UPDATE answers SET answer = 'no JSON'")
    assert listed(stage) == ["a1"]
    assert refused(f"{stage}/scenes/a1")[0] == 503


def test_an_older_record_is_listed(path: Path) -> None:
    """What it holds when it is first opened by this version."""
    with Store(path) as store:
        store.save(with_harms("a1", "loses"))
    with sqlite3.connect(path) as db:
        for statement in ("DROP TRIGGER listed_new", "DROP TRIGGER listed_grown", "DROP TABLE listed"):
            db.execute(statement)
        for name in MIGRATIONS:
            db.execute("DELETE FROM migrations WHERE name = ? AND name > '0109'", (name,))
    db.close()
    with Store(path):
        pass
    assert [(row[1], row[-1]) for row in rows(path, "SELECT * FROM listed")] == [("a1", "loses")]


def test_a_record_that_lists_more_of_a_question_is_brought_over(path: Path) -> None:
    """Its rows get as short as those of a new record, and so do later ones, new and grown."""
    asked = {id: Question(text=f"{id}? " + "y" * 1200) for id in ("a1", "b2", "c3")}
    with Store(path) as store:
        store.save(answer("a1", question=asked["a1"]))
        store.save(answer("b2", question=asked["b2"]))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE listed SET question = (SELECT substr(question, 1, 1000) FROM answers WHERE id = listed.id)")
        for name in ("listed_new", "listed_grown"):
            [(trigger,)] = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchall()
            db.execute(f"DROP TRIGGER {name}")
            db.execute(trigger.replace("1, 800", "1, 1000"))
        db.execute("DELETE FROM migrations WHERE name > '0114'")
    db.close()
    with Store(path) as store:
        store.save(answer("b2", question=asked["b2"], text="Done."))
        store.save(answer("c3", question=asked["c3"]))
    assert dict(rows(path, "SELECT id, question FROM listed")) == {id: each.text[:800] for id, each in asked.items()}


async def test_page_of_a_scene(server: FakeServer, store: Store, stage: str) -> None:
    made = await scene_of_ann(server, store)
    page = read(f"{stage}/scenes/{made.id}")
    scene = Scene.of(made)
    assert [event.number for event in scene.events] == [1, 2, 3, 4]
    for event in scene.events:
        assert f'id="event-{event.number}"' in page
        assert event.verdict.outcome in page
    point = page.split('id="point-1"')[1].split("</li>")[0]
    assert 'href="#initial-1"' in point
    assert 'href="#event-1"' in point
    assert 'href="#revised-1"' in point
    assert 'href="#point-1"' in page.split('id="revised-1"')[1].split("</li>")[0]
    assert 'href="#point-1"' in page.split('id="event-1"')[1].split("</li>")[0]
    assert 'href="#point-1"' in page.split('id="initial-1"')[1].split("</li>")[0]
    assert "<ins>Wait until </ins>" in page
    assert page.count('class="call"') == len(made.calls)
    prompts = read(f"{stage}/scenes/{made.id}/calls/1")
    assert "(the-question)" in prompts
    assert INITIAL in prompts
    assert refused(f"{stage}/scenes/{made.id}/calls/0")[0] == refused(f"{stage}/scenes/{made.id}/calls/99")[0] == 404


async def test_a_response_that_stands_is_shown_once(server: FakeServer, store: Store, stage: str) -> None:
    made = await scene_of_ann(server, store)
    scene = Scene.of(made)
    scene = scene.evolve(critique=Critique(points=()))
    store.save(made.evolve(id="a1", text=made.initial, scene=scene.model_dump()))
    store.save(answer("b2", initial=INITIAL, text=INITIAL))
    for id in ("a1", "b2"):
        page = read(f"{stage}/scenes/{id}")
        shown = page.split('id="answers"')[1].split('id="replay"')[0]
        assert shown.count("Call the police if it goes on.") == 1, id
        assert "stands" in shown
        assert "Revised response" not in shown
        assert "Word by word" not in shown
    assert read(f"{stage}/compare?scene=a1&scene={made.id}").count("The initial response stands.") == 1


async def test_memory_holds_what_a_party_saw(server: FakeServer, store: Store, stage: str) -> None:
    made = await scene_of_ann(server, store, rulings={"Ann knocks": {"observers": ["Guard"]}})
    page = read(f"{stage}/scenes/{made.id}")
    memories = dict(re.findall(r'aria-label="What (\w+) knows".*?<ol>(.*?)</ol>', page, re.S))
    assert 'href="#event-1"' in memories["Guard"]
    assert 'href="#event-1"' in memories["Ann"]  # its own
    assert 'href="#event-1"' not in memories["Bank"]


async def test_file_to_hand_on_stands_alone(server: FakeServer, store: Store, stage: str) -> None:
    """It has every prompt and reply, refers to nothing outside, and its policy names its one script and its style."""
    made = await scene_of_ann(server, store)
    with urlopen(f"{stage}/scenes/{made.id}/file") as found:  # noqa: ASYNC210 (the stage has a thread of its own)
        assert found.headers["Content-Disposition"] == f'attachment; filename="{made.id}.html"'
        page = found.read().decode()
    assert page.count("<h3>Prompt</h3>") == len(made.calls)
    assert REVISED in page
    assert not re.search(r'(?:href|src|action)="(?!#|data:,)', page)
    assert re.search(r"default-src &#39;none&#39;; img-src data:; style-src &#39;sha256-", page)


async def test_two_side_by_side(server: FakeServer, store: Store, stage: str) -> None:
    made = await scene_of_ann(server, store)
    store.save(answer("b2", text="Just ask.", method="vanilla"))
    page = read(f"{stage}/compare?scene={made.id}&scene=b2")
    for side in (1, 2):
        assert len(re.findall(rf'<section aria-label="[^"]*, scene {side}">', page)) == 6
    assert "<del>" in page
    code, why = refused(f"{stage}/compare?scene={made.id}")
    assert code == 404
    assert "1 were chosen" in why


async def test_hostile_texts_are_text(server: FakeServer, store: Store, stage: str) -> None:
    bad = hostile(await scene_of_ann(server, store))
    store.save(bad)
    change(store.path, "UPDATE calls SET text = ?, reasoning = ?", HOSTILE, HOSTILE)
    for place in ("/", "/scenes/f", "/calls", "/compare"):
        address = {"/scenes/f": f"/scenes/{bad.id}", "/calls": f"/scenes/{bad.id}/calls/2"}.get(place, place)
        address += f"?scene={bad.id}&scene={bad.id}" if place == "/compare" else ""
        page = read(stage + address)
        assert not re.search(r"<img|<script>|<b onclick", page), place
        assert "{{7*7}}" in page
        assert "&lt;img src=x onerror=&#34;alert(1)" in page
    assert not re.search(r"<img|<b onclick", read(f"{stage}/scenes/{bad.id}/file"))


def test_answers_without_a_scene(store: Store, stage: str) -> None:
    """Another method's, one that failed, and a scene of another version: each page shows what there is."""
    store.save(answer("a1", initial="One.", text="Two."))
    store.save(answer("b2", error="Refused: the model would not"))
    store.save(answer("c3", text="Two.", scene={"stage": 1}))
    assert "<del>One.</del><ins>Two.</ins>" in read(f"{stage}/scenes/a1")
    assert ">the model would not<" in read(f"{stage}/scenes/b2")
    assert "another version of matrix-align" in read(f"{stage}/scenes/c3")
    assert refused(f"{stage}/scenes/a")[0] == refused(f"{stage}/scenes/a1%20")[0] == 404


def test_pages_forbid_what_is_not_ours(stage: str, path: Path) -> None:
    with urlopen(stage) as found:
        policy = found.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_no_record_is_said(tmp_path: Path) -> None:
    with stage_at(tmp_path / "none.db") as url:
        code, page = refused(url)
    assert code == 503
    assert "there is no record" in page


def test_a_scene_is_followed_while_it_grows(store: Store, stage: str) -> None:
    """Each new state is told once; the stream ends with the answer."""
    store.save(answer("a1"))
    told: list[dict[str, Any]] = []
    with urlopen(f"{stage}/scenes/a1/live") as stream:
        told.append(next_of(stream))
        change(store.path, "UPDATE answers SET calls = 2")
        told.append(next_of(stream))
        store.save(answer("a1", text="Done."))
        told.append(next_of(stream))
        assert stream.read() == b""
    assert told == [
        {"event": "grown", "state": "unfinished", "calls": 0},
        {"event": "grown", "state": "unfinished", "calls": 2},
        {"event": "end", "state": "done", "calls": 0},
    ]


def test_pages_that_are_followed_are_limited(store: Store, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST", 1)
    store.save(answer("a1"))
    with urlopen(f"{stage}/scenes/a1/live") as stream:
        next_of(stream)
        assert refused(f"{stage}/scenes/a1/live")[0] == 503
        store.save(answer("a1", text="Done."))
        assert next_of(stream)["event"] == "end"


def next_of(stream: HTTPResponse) -> dict[str, Any]:
    lines = [stream.readline().decode() for _ in range(3)]
    return {"event": lines[0].split()[1], **json.loads(lines[1].removeprefix("data: "))}


@pytest.mark.parametrize("command", ["simulate", "generate"])
def test_a_scene_is_written_as_it_grows(
    cli: Run, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """So that another process can watch it."""
    monkeypatch.setattr(schedule, "SHOWN", 0)
    (asked := tmp_path / "asked.txt").write_text(ASKED)
    record = tmp_path / ("scenes.db" if command == "simulate" else "run/record.db")
    seen: list[tuple[str, int]] = []

    def aftermath(body: dict[str, Any]) -> Any:
        seen.extend(rows(record, "SELECT state, calls FROM answers"))
        return server.default(body)

    server.on["Aftermath"] = aftermath
    given = (ASKED,) if command == "simulate" else (str(asked), "--out", str(tmp_path / "run"))
    assert cli(command, *given, *SMALL, "--endpoint", server.url).returncode == 0
    [(state, calls)] = seen
    assert state == "unfinished"
    assert calls == server.kinds().index("Aftermath")
    assert rows(record, "SELECT state FROM answers") == [("steps finished",)]
