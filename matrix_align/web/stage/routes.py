"""The stage's addresses. Each request reads the record anew, so a page shows what is there by now. Knows no SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ...errors import InputError, StoreError
from ...store import Store
from ...types import Answer
from ..forms import fields
from ..pages import page
from ..replies import Gone, Refusal
from .fork import Player
from .listing import HARMS, MOST, Wanted, choices, find
from .live import follow
from .picture import actor, observers
from .share import file_of
from .shown import shown, spoken

Page = Callable[[Request], Response]


class _Missing(Exception):
    """There is no such page, and why."""


def routes(record: Path, player: Player | None = None) -> list[Route]:
    """The pages of the record at this path, which must be there when a page is asked for.

    `player` plays scenes on from a changed reply. Without one the pages only show.
    """

    @contextmanager
    def opened() -> Iterator[Store]:
        with Store(record, read_only=True) as store:
            yield store

    def scenes(request: Request) -> Response:
        asked = request.query_params
        wanted = Wanted(
            asked.get("words", "")[:200], *(asked.get(name, "")[:200] for name in ("state", "harm", "method", "model"))
        )
        newer = "newer" in asked
        at, _, id = asked.get("newer" if newer else "older", "").partition(" ")
        with opened() as store:
            found = find(store, wanted, "newer" if newer else "older", (at, id))
            offered = choices(store)
        return page(
            "stage/list.html", found=found, wanted=wanted, choices=offered, harms=HARMS, most=MOST, record=record.name
        )

    def scene(request: Request) -> Response:
        with opened() as store:
            answer = _answer(store, request.path_params["id"])
        return page("stage/scene.html", shown=shown(answer), actor=actor, observers=observers, calls=None)

    def call(request: Request) -> Response:
        with opened() as store:
            answer = _answer(store, request.path_params["id"])
            found = spoken(store, answer, request.path_params["place"])
        if not found:
            raise _Missing(f"this answer has {len(answer.calls)} calls")
        return page("stage/call.html", answer=answer, spoken=found, forks=player is not None)

    def file(request: Request) -> Response:
        with opened() as store:
            answer = _answer(store, request.path_params["id"])
            calls = [spoken(store, answer, place) for place in range(1, len(answer.calls) + 1)]
        name = answer.id if re.fullmatch("[0-9a-f]{1,64}", answer.id) else "scene"
        headers = {"Content-Disposition": f'attachment; filename="{name}.html"', "X-Content-Type-Options": "nosniff"}
        return Response(file_of(shown(answer), calls), media_type="text/html", headers=headers)

    def compare(request: Request) -> Response:
        ids = request.query_params.getlist("scene")
        if len(ids) != 2:
            raise _Missing(f"two scenes can be compared, and {len(ids)} were chosen; tick two in the list of scenes")
        with opened() as store:
            sides = [shown(_answer(store, id)) for id in ids]
        return page("stage/compare.html", sides=sides)

    async def live(request: Request) -> Response:
        return follow(record, request.path_params["id"])

    async def fork(request: Request) -> Response:
        assert player
        try:
            sent = await fields(request)
            answer = await run_in_threadpool(read, request.path_params["id"])
            fork = player.begin(answer, request.path_params["place"], sent.get("reply", "").replace("\r\n", "\n"))
        except (_Missing, InputError, StoreError) as why:
            return page("stage/message.html", 422, message=str(why))
        except Refusal as why:
            return page("stage/message.html", why.status, message=str(why))
        except Gone:
            return Response(status_code=400)
        return RedirectResponse(f"/scenes/{fork}", 303)

    def read(id: str) -> Answer:
        with opened() as store:
            return _answer(store, id)

    forks = [Route("/scenes/{id}/calls/{place:int}/fork", fork, methods=["POST"])] if player else []
    return [
        *forks,
        Route("/", _mended(scenes)),
        Route("/compare", _mended(compare)),
        Route("/scenes/{id}", _mended(scene)),
        Route("/scenes/{id}/calls/{place:int}", _mended(call)),
        Route("/scenes/{id}/file", _mended(file)),
        Route("/scenes/{id}/live", live),
    ]


def _answer(store: Store, id: str) -> Answer:
    answer = store.answer(id) if id else None
    if not answer or answer.id != id:
        raise _Missing("the record has no scene with this id")
    return answer


def _mended(show: Page) -> Page:
    """`show` with a page for what can go wrong. Starlette runs it on a thread, since it reads a file."""

    @wraps(show)
    def shows(request: Request) -> Any:
        try:
            return show(request)
        except _Missing as why:
            return page("stage/message.html", 404, message=str(why))
        except StoreError as why:
            return page("stage/message.html", 503, message=str(why))

    return shows
