"""The stage in a real Chromium: scrubber, keys, links both ways, live, the file that stands alone, hostile texts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page

from matrix_align import Answer, Scene, Store
from matrix_align.web.beside import Beside
from matrix_align.web.figures import Figures
from matrix_align.web.stage import Player, live

from .browser import HANG, Seen, chromium, needs_chromium, watch
from .conftest import matrix
from .fake import fake_server
from .records import change
from .stage import HOSTILE, hostile, scene_of_ann, stage_at

pytestmark = needs_chromium

# Controls, pictures and regions that have no name for screen readers.
NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, svg, [role=region]")]
    .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length))
    .map((e) => e.outerHTML)"""

# The texts of a scene's page, without the call that a test has opened.
TEXTS = """() => [...document.querySelectorAll("#scene > :not(#calls), #calls > :not(#call-2)")]
    .map((e) => e.textContent)"""


class Opened(NamedTuple):
    browser: Browser
    url: str
    answer: Answer
    store: Store


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """The browser, and a stage with Ann's scene, of whose first event the bank knows nothing, and a hostile one."""
    path = tmp_path_factory.mktemp("stage") / "scenes.db"

    async def play(store: Store) -> Answer:
        with fake_server() as server:
            return await scene_of_ann(server, store, rulings={"Ann knocks": {"observers": ["Guard", "Door"]}})

    with Store(path) as store:
        answer = asyncio.run(play(store))
        store.save(hostile(answer))
        change(path, "UPDATE calls SET text = ?, reasoning = ?", HOSTILE, HOSTILE)
        with stage_at(path) as url, chromium() as browser:
            yield Opened(browser, url, answer, store)


@contextmanager
def watched(browser: Browser, url: str) -> Iterator[Page]:
    """An empty page of a context of its own. At the end it must have logged no error and asked nobody but `url`."""
    context, seen = browser.new_context(viewport={"width": 1280, "height": 900}), Seen()
    context.set_default_timeout(HANG)
    page = context.new_page()
    watch(page, url, seen)
    try:
        yield page
    finally:
        context.close()
    assert seen == Seen()


@pytest.fixture
def page(opened: Opened) -> Iterator[Page]:
    """A page of the browser that shows Ann's scene."""
    with watched(opened.browser, opened.url) as page:
        page.goto(f"{opened.url}/scenes/{opened.answer.id}")
        yield page


def event_shown(page: Page) -> list[str]:
    return [str(found.get_attribute("data-event")) for found in page.locator("[data-event]:visible").all()]


def known(page: Page, name: str) -> int:
    return int(page.locator(f'section[aria-label="What {name} knows"] li:visible').count())


def test_scrubber_shows_one_event_and_what_each_knows(page: Page) -> None:
    scrubber = page.get_by_role("slider", name="Event")
    assert event_shown(page) == ["1"]
    assert (known(page, "Ann"), known(page, "Guard"), known(page, "Bank")) == (1, 1, 0)
    picture = page.get_by_role("img", name="Ann acts")
    assert picture.get_attribute("aria-label") == "Ann acts. Seen by: Guard, Door"
    assert [p.get_attribute("class") for p in page.locator(".party").all()] == [
        "party acts",
        "party saw",
        "party unaware",
        "party saw",
    ]
    assert page.locator(".sight line").count() == 2
    scrubber.focus()
    page.keyboard.press("ArrowRight")
    assert event_shown(page) == ["2"]
    assert (known(page, "Ann"), known(page, "Bank")) == (2, 1)
    page.keyboard.press("Home")
    assert event_shown(page) == ["0"]
    assert known(page, "Ann") == 0
    assert scrubber.get_attribute("aria-valuetext") == "before the first event"
    page.keyboard.press("End")
    assert event_shown(page) == ["4"]
    assert page.get_by_role("button", name="On").is_disabled()
    page.get_by_role("button", name="Back").press("Enter")
    assert event_shown(page) == ["3"]
    page.get_by_label("all events").check()
    assert event_shown(page) == ["1", "2", "3", "4"]


def test_links_lead_both_ways_by_keyboard(page: Page) -> None:
    """Revised sentence → point → incident, and back; all that hangs together lights up."""

    def lit() -> set[str]:
        return {str(found.get_attribute("id")) for found in page.locator("[data-lit]").all()}

    page.locator('#revised-3 a[href="#point-2"]').press("Enter")
    assert page.evaluate("document.activeElement.id") == "point-2"
    assert lit() == {"point-2", "initial-3", "event-2", "revised-3"}
    page.locator('#point-2 a[href="#event-2"]').press("Enter")
    assert event_shown(page) == ["2"]
    assert page.evaluate("document.activeElement.id") == "event-2"
    page.locator('#event-2 a[href="#point-2"]').press("Enter")
    page.locator('#point-2 a[href="#revised-3"]').press("Enter")
    assert page.evaluate("document.activeElement.id") == "revised-3"
    assert lit() == {"revised-3", "point-2"}


def test_call_is_fetched_when_it_is_opened(page: Page) -> None:
    page.locator("#call-1 summary").press("Enter")
    page.locator("#call-1 .turn").first.wait_for()
    assert "(the-question)" in page.locator("#call-1").inner_text()


def test_list_by_keyboard(opened: Opened) -> None:
    with watched(opened.browser, opened.url) as page:
        page.goto(opened.url)
        page.get_by_role("searchbox").fill("neighbour")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="How do I ask my neighbour").press("Enter")
        page.wait_for_url(f"**/scenes/{opened.answer.id}")


def test_hostile_texts_run_nothing(opened: Opened, tmp_path: Path) -> None:
    """On every page, with every event shown and every call opened."""
    bad = "f" * 16
    pages = ["", f"/scenes/{bad}", f"/scenes/{bad}/calls/2", f"/compare?scene={bad}&scene={opened.answer.id}"]
    with watched(opened.browser, opened.url) as page:
        for place in pages:
            page.goto(opened.url + place)
            assert page.locator("img, [onclick], [onerror]").count() == 0
            assert page.locator("script:not([src])").count() == 0
        page.goto(f"{opened.url}/scenes/{bad}")
        page.get_by_label("all events").check()
        page.locator("#plan summary").click()
        page.locator("details.call").evaluate_all("calls => calls.forEach((call) => (call.open = true))")
        spoken = page.locator(".call .spoken")
        spoken.nth(len(opened.answer.calls) - 1).wait_for()
        assert all(HOSTILE in text for text in spoken.all_inner_texts()), "each with its hostile reply, as text"
        assert page.locator("img, [onclick], [onerror]").count() == 0
        ids = page.locator("[id]").evaluate_all("all => all.map((one) => one.id)")
        assert len(ids) == len(set(ids)), "with every call opened too"


@pytest.mark.parametrize("which", ["ann", "hostile"])
def test_file_works_alone(opened: Opened, tmp_path: Path, which: str) -> None:
    """From the disk, without the server: its own script runs under its own policy, and nothing is asked for."""
    id = opened.answer.id if which == "ann" else "f" * 16
    file = tmp_path / "scene.html"
    with watched(opened.browser, file.as_uri()) as page:
        file.write_bytes(opened.browser.contexts[0].request.get(f"{opened.url}/scenes/{id}/file").body())
        page.goto(file.as_uri())
        page.get_by_role("slider", name="Event").press("End")
        assert event_shown(page) == ["4"]
        page.locator("#call-1 summary").press("Enter")
        assert page.locator("#call-1 .turn").first.is_visible()
        assert page.locator("img, [onclick], [onerror]").count() == 0


def test_page_grows_while_the_scene_is_played(opened: Opened) -> None:
    """It keeps its place: at the end of the scene it stays at the end, and what was opened stays open.

    So does a fork's form that a person types in meanwhile: its text, the focus, and where the next letter goes.
    """
    whole = Scene.of(opened.answer)
    growing = opened.answer.evolve(id="e" * 16, text=None)
    opened.store.save(growing.evolve(scene=whole.evolve(events=whole.events[:2], ending=None, critique=None)))
    never: Any = None  # nobody plays here; the player only lets the forms be shown
    player = Player(never, opened.store, matrix(), Beside(), Figures())
    with stage_at(opened.store.path, player) as url, watched(opened.browser, url) as page:
        page.goto(f"{url}/scenes/{growing.id}")
        assert event_shown(page) == ["2"]
        page.locator("#plan summary").press("Enter")
        page.get_by_label("all events").check()
        page.locator("#call-2 summary").press("Enter")
        reply = page.get_by_label("Another reply")
        reply.fill("one three")
        for _ in range(len(" three")):
            page.keyboard.press("ArrowLeft")
        page.keyboard.type(" tw")
        part = whole.evolve(ending=None, critique=None, revised=None)
        opened.store.save(growing.evolve(scene=part, calls=(*growing.calls, growing.calls[0])))
        page.locator("#event-4:visible").wait_for()
        page.locator("#grown", has_text=f"{len(growing.calls) + 1} calls, 4 events").wait_for(state="attached")
        page.keyboard.type("o")
        assert reply.input_value() == "one two three"
        assert page.locator("#plan").get_attribute("open") is not None
        assert event_shown(page) == ["1", "2", "3", "4"]
        page.get_by_role("button", name="Back").click()
        opened.store.save(growing.evolve(scene=whole, text=whole.revised))
        page.locator("#revised-1").wait_for()
        assert reply.input_value() == "one two three"
        page.get_by_label("all events").uncheck()
        assert event_shown(page) == ["3"]
        grown = page.evaluate(TEXTS)
        page.goto(f"{url}/scenes/{growing.id}")
        page.get_by_role("slider", name="Event").press("End")
        page.get_by_role("button", name="Back").click()
        assert grown == page.evaluate(TEXTS), "as if it had been opened now"


def test_page_that_finds_no_room_asks_again(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    growing = opened.answer.evolve(id="d" * 16, text=None)
    opened.store.save(growing)
    monkeypatch.setattr(live, "MOST", 0)
    with opened.browser.new_context() as context:
        page = context.new_page()
        page.clock.install()
        with page.expect_response("**/live") as refused:
            page.goto(f"{opened.url}/scenes/{growing.id}")
        assert refused.value.status == 503
        monkeypatch.setattr(live, "MOST", 1)
        with page.expect_response("**/live") as followed:
            page.clock.run_for(10_000)
        assert followed.value.status == 200


@pytest.mark.parametrize("width", [360, 3840])
def test_pages_fit_any_width(opened: Opened, width: int) -> None:
    with watched(opened.browser, opened.url) as page:
        page.set_viewport_size({"width": width, "height": 800})
        for place in ("", f"/scenes/{opened.answer.id}", "/scenes/" + "f" * 16):
            page.goto(opened.url + place)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, place


def test_fields_of_the_search_stand_in_one_line(opened: Opened) -> None:
    with watched(opened.browser, opened.url) as page:
        page.goto(opened.url)
        fields = page.locator(".search").locator("input, select, button").all()
        boxes = [field.bounding_box() for field in fields]
    assert len(boxes) == 6
    assert len({(box["y"], box["height"]) for box in boxes if box}) == 1


def test_everything_has_a_name(opened: Opened) -> None:
    """Controls and pictures have names for screen readers, ids are unique, links within a page lead somewhere."""
    with watched(opened.browser, opened.url) as page:
        id = opened.answer.id
        for place in ("", f"/scenes/{id}", f"/compare?scene={id}&scene={id}"):
            page.goto(opened.url + place)
            nameless = page.evaluate(NAMELESS)
            assert nameless == []
            ids = [found.get_attribute("id") for found in page.locator("[id]").all()]
            assert len(ids) == len(set(ids))
            links = page.locator('a[href^="#"]').all()
            assert {str(link.get_attribute("href"))[1:] for link in links} <= set(ids)
