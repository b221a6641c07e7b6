"""A real Chromium for tests of pages. Where there is none, these tests skip by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
HANG = 120_000  # milliseconds after which a page has come to a standstill, on whatever machine


@dataclass
class Seen:
    """What a page did beside what was asked of it: errors on its console, and requests to other hosts."""

    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Browser, url: str, seen: Seen, **options: Any) -> Page:
    """A new page at `url`, in a context of its own."""
    context = browser.new_context(**options)
    context.set_default_timeout(HANG)
    page = context.new_page()
    watch(page, url, seen)
    page.goto(url)
    return page


def watch(page: Page, url: str, seen: Seen) -> None:
    here = "/".join(url.split("/")[:3])

    def told(message: ConsoleMessage) -> None:
        if message.type == "error":
            seen.errors.append(message.text)

    def asked(dialog: Dialog) -> None:
        seen.errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def requested(request: Request) -> None:
        if not request.url.startswith((f"{here}/", "data:")):
            seen.foreign.append(request.url)

    page.on("console", told)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("dialog", asked)
    page.on("request", requested)
