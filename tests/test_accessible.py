"""Every page in a real Chromium under axe-core, light and dark: it finds nothing, of whatever weight."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page

from matrix_align import Answer, Scene, Store

from .browser import Seen, chromium, needs_chromium, opened
from .fake import fake_server
from .gateway import serving
from .rating import a_rating, rating_page, two_runs
from .stage import hostile, scene_of_ann

pytestmark = needs_chromium

Scheme = Literal["light", "dark"]
schemes = pytest.mark.parametrize("scheme", ["light", "dark"])


def faults(page: Page, contrast: bool = True, others: bool = True) -> list[str]:
    """What axe-core finds, with the weight that it gives it and the elements at fault.

    Looking at the contrast of every text takes most of the time.
    """
    page.evaluate(AXE_SCRIPT)
    options: dict[str, Any] = {"resultTypes": ["violations"], "rules": {"color-contrast": {"enabled": contrast}}}
    if not others:
        options["runOnly"] = ["color-contrast"]
    found: Any = page.evaluate("options => axe.run(options)", options)
    return [
        f"{rule['impact']}: {rule['help']}: {node['html'][:200]} ({node['failureSummary']})"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Answer]]:
    """The address of a stage where scenes can be played and forked, and Ann's scene: whole, hostile, and growing."""
    path = tmp_path_factory.mktemp("accessible") / "scenes.db"
    with fake_server() as server:

        async def play() -> Answer:
            with Store(path) as store:
                answer = await scene_of_ann(server, store, rulings={"Ann calls": {"feasible": False, "harm": "Loud."}})
                store.save(hostile(answer))
                store.save(answer.evolve(id="e" * 16, text=None, scene=Scene.of(answer).evolve(critique=None)))
                store.save(answer.evolve(id="d" * 16, text=None, error="Refused: the model would not"))
            return answer

        answer = asyncio.run(play())
        with serving(server, path) as served:
            yield served.url, answer


@pytest.fixture(scope="module")
def browser(stage: tuple[str, Answer]) -> Iterator[Browser]:
    """Opened after the scene was played, since its driver has an event loop of its own."""
    with chromium() as running:
        yield running


def all_opened(page: Page, url: str) -> None:
    """The page of a scene with all its events, a call and a link that lights up."""
    page.goto(url)
    page.get_by_label("all events").check()
    for part in ("#plan", "#call-2"):
        page.locator(f"{part} summary").click()
    page.locator("#call-2 .turn").first.wait_for()
    page.locator("#event-1").hover()


@schemes
def test_pages_of_the_stage(browser: Browser, stage: tuple[str, Answer], scheme: Scheme) -> None:
    url, answer = stage
    page, light = opened(browser, url, Seen(), color_scheme=scheme), scheme == "light"
    page.locator("summary").click()
    found = {"list": faults(page, others=light)}
    all_opened(page, f"{url}/scenes/{answer.id}")
    found["scene"] = faults(page, others=light)
    for place in (f"scenes/{answer.id}/calls/2", f"compare?scene={answer.id}&scene={'d' * 16}"):
        page.goto(f"{url}/{place}")
        found[place] = faults(page, others=light)
    page.context.close()
    assert {place: each for place, each in found.items() if each} == {}


def test_the_same_pages_in_other_states(browser: Browser, stage: tuple[str, Answer], tmp_path: Path) -> None:
    """Live, failed, hostile, as a file, nothing found: the colours are those of the test above."""
    url, answer = stage
    file, found = tmp_path / "scene.html", {}
    page = opened(browser, f"{url}/?words=zeppelin", Seen())
    found["no answer fits"] = faults(page, contrast=False)
    page.goto(f"{url}/scenes/{'0' * 16}")
    found["no such scene"] = faults(page, contrast=False)
    file.write_bytes(page.request.get(f"{url}/scenes/{answer.id}/file").body())
    for place in (*(f"{url}/scenes/{letter * 16}" for letter in "def"), file.as_uri()):
        all_opened(page, place)
        found[place] = faults(page, contrast=False)
    page.context.close()
    assert {place: each for place, each in found.items() if each} == {}


@schemes
def test_pages_of_a_rating(browser: Browser, scheme: Scheme, tmp_path: Path) -> None:
    (ann,) = a_rating(tmp_path / "r", two_runs(tmp_path, 2), "Ann")
    light = scheme == "light"
    with rating_page(tmp_path / "r") as url:
        page = opened(browser, f"{url}/rate/r", Seen(), color_scheme=scheme)
        found = {"begin": faults(page, others=light)}
        page.goto(f"{url}/rate/r/{ann.link}")
        for number in (1, 2):
            page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
            found[f"pair {number}"] = faults(page, others=light)
            with page.expect_navigation():
                page.locator("[data-key='1']").click()
        found["done"] = faults(page, others=light)
        page.context.close()
    assert {place: each for place, each in found.items() if each} == {}
