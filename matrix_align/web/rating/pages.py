"""The routes of the rating page. Each answers with a whole page, or leads to one.

    GET  /rate                  lists the ratings; without a gateway / does too
    GET  /rate/NAME             says how to begin; asks for a name if the rating is open to whoever gives one
    POST /rate/NAME             a new rater, who is led to a page of their own
    GET  /rate/NAME/LINK        the rater's next pair
    POST /rate/NAME/LINK        a rating
    POST /rate/NAME/LINK/undo   takes the latest one back

LINK is a rater's secret; it stands for a key.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ...errors import InputError, StoreError
from ...evals.pairwise.prompts import PROMPTS
from ...evals.pairwise.types import WORDS, Level
from ...evals.rating.folder import RATINGS, described, joined
from ...evals.rating.store import NAME_LIMIT, Ratings
from ...evals.rating.types import HARMS, Rater
from ..forms import fields
from ..pages import HEADERS, page
from ..replies import Gone, Refusal
from . import form

KEYS: dict[Level, str] = {"A>>B": "a", "A>B": "1", "A=B": "0", "B>A": "2", "B>>A": "b"}
NOTES = {
    "saved": "Saved.",
    "twice": "This pair was rated already. The first rating counts.",
    "undone": "Taken back. Rate this pair again.",
    "nothing": "There was nothing to take back.",
}

Page = Callable[[Request], Awaitable[Response]]


class _Missing(Exception):
    """There is no such rating, or no such rater."""


def routes(folders: Sequence[Path], alone: bool = False) -> list[Route]:
    """The routes of these ratings. `alone` says that nothing else is served, so that / is theirs too.

    Raises InputError if one holds none, or if two have the same name.
    """
    pages = _Pages(folders)
    lists = ["/rate", *(["/"] if alone else [])] if folders else []
    return [
        *(Route(path, _told(pages.listed), methods=["GET"]) for path in lists),
        Route("/rate/{name}", _told(pages.begin), methods=["GET"]),
        Route("/rate/{name}", _told(pages.join), methods=["POST"]),
        Route("/rate/{name}/{link}", _told(pages.pair), methods=["GET"]),
        Route("/rate/{name}/{link}", _told(pages.rate), methods=["POST"]),
        Route("/rate/{name}/{link}/undo", _told(pages.undo), methods=["POST"]),
    ]


class _Pages:
    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders: dict[str, Path] = {}
        for folder in folders:
            described(folder)
            if self._folders.setdefault(name := folder.resolve().name, folder) != folder:
                raise InputError(f"two ratings have the name {name}, by which their pages are found; rename a folder")

    def _folder(self, request: Request) -> Path:
        if folder := self._folders.get(request.path_params["name"]):
            return folder
        raise _Missing

    async def listed(self, request: Request) -> Response:
        return page("rating/list.html", ratings=[(name, f"/rate/{quote(name, safe='')}") for name in self._folders])

    async def begin(self, request: Request) -> Response:
        by_name = described(self._folder(request))["by_name"]
        return page("rating/begin.html", by_name=by_name, limit=NAME_LIMIT, note="")

    async def join(self, request: Request) -> Response:
        folder = self._folder(request)
        sent = await fields(request, small=True) if described(folder)["by_name"] else {}
        try:
            rater = await run_in_threadpool(joined, folder, sent.get("name", ""))
        except InputError as error:
            by_name = described(folder)["by_name"]
            return page("rating/begin.html", 400, by_name=by_name, limit=NAME_LIMIT, note=_sentence(str(error)))
        return RedirectResponse(_address(request, rater), 303, HEADERS)

    async def pair(self, request: Request) -> Response:
        note = NOTES.get(request.query_params.get("note", ""), "")
        link = request.path_params["link"]
        return await run_in_threadpool(_next_pair, self._folder(request), link, note)

    async def _sent(self, request: Request) -> tuple[Path, dict[str, str]]:
        """The folder and the form of a rater. Nothing is read from anybody else, who may have no key."""
        folder = self._folder(request)

        def check() -> None:
            with Ratings(folder / RATINGS) as ratings:
                _rater(ratings, request.path_params["link"])

        await run_in_threadpool(check)
        return folder, await fields(request, small=True)

    async def rate(self, request: Request) -> Response:
        folder, sent = await self._sent(request)
        said = form.given(sent)

        def commit() -> Response:
            with Ratings(folder / RATINGS) as ratings:
                rater = _rater(ratings, request.path_params["link"])
                new = ratings.rate(rater, sent.get("showing", ""), said)
            return RedirectResponse(_address(request, rater, "saved" if new else "twice"), 303, HEADERS)

        return await run_in_threadpool(commit)

    async def undo(self, request: Request) -> Response:
        folder, sent = await self._sent(request)
        number = sent.get("rating", "")

        def commit() -> Response:
            with Ratings(folder / RATINGS) as ratings:
                rater = _rater(ratings, request.path_params["link"])
                back = number.isascii() and number.isdecimal() and len(number) < 19 and ratings.undo(rater, int(number))
            return RedirectResponse(_address(request, rater, "undone" if back else "nothing"), 303, HEADERS)

        return await run_in_threadpool(commit)


def _rater(ratings: Ratings, link: str) -> Rater:
    if rater := ratings.rater(link):
        return rater
    raise _Missing


def _next_pair(folder: Path, link: str, note: str) -> Response:
    with Ratings(folder / RATINGS) as ratings:
        rater = _rater(ratings, link)
        done, count = ratings.progress(rater)
        showing, latest = ratings.next(rater), ratings.latest(rater)
        shared: dict[str, Any] = {
            "rater": rater.name,
            "done": done,
            "count": count,
            "note": note,
            "latest": latest[0] if latest else None,
            "base": rater.link,
        }
        if not showing:
            return page("rating/done.html", **shared)
        item = ratings.item(showing.item)
        before = ratings.undone(rater, showing)
    pair = item.pair
    a, b = (pair.candidate, pair.baseline) if showing.as_a == "candidate" else (pair.baseline, pair.candidate)
    return page(
        "rating/pair.html",
        **shared,
        showing=showing.id,
        since=f"{time.time():.3f}",
        turns=pair.question.messages(),
        answers=[("A", a), ("B", b)],
        folded=item.harmful,
        levels=[(level, WORDS[level], KEYS[level]) for level in WORDS],
        harms=HARMS,
        before=before,
        reason_limit=form.REASON_LIMIT,
        criteria=PROMPTS.render("criteria"),
    )


def _address(request: Request, rater: Rater, note: str = "") -> str:
    """The rater's own page."""
    name = quote(request.path_params["name"], safe="")
    return f"/rate/{name}/{rater.link}" + (f"?note={note}" if note else "")


def _told(show: Page) -> Page:
    """`show`, or a page that says what went wrong."""

    async def answered(request: Request) -> Response:
        try:
            return await show(request)
        except _Missing:
            return page(
                "rating/message.html", 404, title="There is no such page", text="Look at the link that you were sent."
            )
        except InputError as error:
            return page("rating/message.html", 400, title="That can't be saved", text=_sentence(str(error)))
        except Refusal as refusal:
            text = _sentence(str(refusal))
            title = "That can't be saved"
            return page("rating/message.html", refusal.status, refusal.headers, title=title, text=text)
        except StoreError:
            return page(
                "rating/message.html",
                503,
                title="That is not saved",
                text="The ratings can't be written. Try again later.",
            )
        except Gone:
            return Response(status_code=400)

    return answered


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
