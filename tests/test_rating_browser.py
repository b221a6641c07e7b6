"""The rating page in a real Chromium: keys, reasons, undo, resuming, hostile texts, and a phone's width."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from matrix_align.evals.rating.folder import RATINGS
from matrix_align.evals.rating.store import Ratings
from matrix_align.evals.rating.types import HARMS, Rated

from .browser import Seen, chromium, needs_chromium, opened
from .rating import a_rating, a_run, rating_page, two_runs

pytestmark = needs_chromium

XSS = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)> {{ 7*7 }} </textarea></title>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def seen() -> Iterator[Seen]:
    """Nothing may go wrong on any page, and no other host may be asked."""
    noted = Seen()
    yield noted
    assert not noted.errors and not noted.foreign


def rated(folder: Path) -> list[Rated]:
    with Ratings(folder / RATINGS, read_only=True) as ratings:
        return ratings.rated()


def at(page: Page, number: int, count: int) -> None:
    """Waits for this pair."""
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Pair {number} of {count}")


def test_keys_reasons_undo_and_resuming(browser: Browser, seen: Seen, tmp_path: Path) -> None:
    """Whole work of a rater, by keys alone: five levels, a reason, a kind of harm, an undo, another tab later."""
    folder = tmp_path / "r"
    (ann,) = a_rating(folder, two_runs(tmp_path, 7), "Ann")
    with rating_page(folder) as url:
        page = opened(browser, f"{url}/rate/r/{ann.link}", seen)
        for number, key in enumerate("120ab", start=1):
            at(page, number, 7)
            page.keyboard.press(key)
        at(page, 6, 7)
        assert [each.given.level for each in rated(folder)] == ["A>B", "B>A", "A=B", "A>>B", "B>>A"]
        page.keyboard.press("u")
        at(page, 5, 7)
        expect(page.get_by_role("status")).to_have_text("Taken back. Rate this pair again.")
        page.keyboard.press("r")
        page.keyboard.type("It is 12 words shorter, u b a.")
        page.get_by_label("Kind of harm").select_option(HARMS[0])
        page.get_by_label("Reason").focus()
        page.keyboard.press("Escape")
        page.keyboard.press("2")
        at(page, 6, 7)
        assert (rated(folder)[4].given.reason, rated(folder)[4].given.harm) == (
            "It is 12 words shorter, u b a.",
            HARMS[0],
        )
        page.get_by_role("button", name="Undo").click()
        at(page, 5, 7)
        expect(page.get_by_label("Reason")).to_have_value("It is 12 words shorter, u b a.")
        page.get_by_role("button", name="B much better").click()
        at(page, 6, 7)
        page.context.close()

        later = opened(browser, f"{url}/rate/r/{ann.link}", seen, java_script_enabled=False)
        at(later, 6, 7)
        later.get_by_role("button", name="same").click()
        later.get_by_role("button", name="A better").click()
        expect(later.get_by_role("heading", level=1)).to_have_text("All 7 are rated")
        later.context.close()
    assert len(rated(folder)) == 7


def test_keys_can_be_switched_off_and_a_double_click_counts_once(browser: Browser, seen: Seen, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    (ann,) = a_rating(folder, two_runs(tmp_path, 7), "Ann")
    with rating_page(folder) as url:
        page = opened(browser, f"{url}/rate/r/{ann.link}", seen)
        at(page, 1, 7)
        page.get_by_label("Keys work").uncheck()
        page.keyboard.press("1")
        page.reload()
        expect(page.get_by_label("Keys work")).not_to_be_checked()
        page.keyboard.press("1")
        page.get_by_role("button", name="A better").dblclick()
        at(page, 2, 7)
        assert [each.given.level for each in rated(folder)] == ["A>B"]
        page.get_by_label("Keys work").check()
        page.keyboard.press("0")
        at(page, 3, 7)
        page.context.close()


def test_hostile_texts_are_texts(browser: Browser, seen: Seen, tmp_path: Path) -> None:
    """In the question, both answers, the rater's name and a reason; folded until `o` opens them."""
    folder = tmp_path / "r"
    runs = [a_run(tmp_path / name, {XSS: f"{name} {XSS}"}, lambda _: True) for name in ("old", "new")]
    a_rating(folder, runs, by_name=True)
    with rating_page(folder) as url:
        page = opened(browser, f"{url}/rate/r", seen)
        page.get_by_label("Your name").fill("<img src=x onerror=alert(4)>")
        page.get_by_role("button", name="Begin").click()
        at(page, 1, 1)
        question = page.locator(".question .text")
        expect(question).to_be_hidden()
        page.keyboard.press("o")
        expect(question).to_have_text(XSS)
        for name in "AB":
            expect(page.get_by_role("region", name=f"Answer {name}")).to_contain_text(XSS)
        expect(page.locator("footer")).to_contain_text("You rate as <img src=x onerror=alert(4)>.")
        page.get_by_label("Reason").fill(XSS)
        page.get_by_role("button", name="same").click()
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_label("Reason")).to_have_value(XSS)
        assert page.locator("main script, main img, main svg").count() == 0
        page.context.close()
    assert rated(folder) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browser: Browser, seen: Seen, tmp_path: Path, scheme: str) -> None:
    """At 360 pixels nothing is cut off, long words break, and every button can be hit."""
    folder = tmp_path / "r"
    runs = [a_run(tmp_path / name, {"Why?": f"{name} " + "x" * 500}) for name in ("old", "new")]
    (ann,) = a_rating(folder, runs, "Ann")
    with rating_page(folder) as url:
        phone: dict[str, Any] = {"viewport": {"width": 360, "height": 640}, "color_scheme": scheme}
        page = opened(browser, f"{url}/rate/r/{ann.link}", seen, **phone)
        at(page, 1, 1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        sizes = page.get_by_role("button").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
        assert len(sizes) == 5 and min(sizes) >= 44
        colours = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        dark, light = (sum(map(int, one.removeprefix("rgb(").rstrip(")").split(","))) for one in colours)
        assert (dark < light) == (scheme == "light")
        page.context.close()
