"""The stage's addresses. Each request reads the record anew, so a page shows what is there by now. Knows no SQL."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
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
from ..beside import Beside
from ..forms import fields
from ..pages import page
from ..replies import Gone, Refusal
from .listing import HARMS, MOST, Wanted, choices, find, forks
from .live import Live
from .picture import actor, observers
from .player import Doing, Player
from .share import file_of
from .shown import Spoken, seconds_since_it_grew, shown, spoken

Page = Callable[[Request], Response]


class _Missing(Exception):
    """There is no such page, and why."""


def routes(record: Path, player: Player | None = None, beside: Beside | None = None) -> list[Route]:
    """The pages of the record at this path, which must be there when a page is asked for.

    `player` plays scenes and forks that are begun on a page. Without one the pages only show. Pages that follow a scene
    are let go when `beside` says that the server ends.
    """

    @contextmanager
    def opened() -> Iterator[Store]:
        with Store(record, read_only=True) as store:
            yield store

    def doing(id: str) -> Doing | None:
        return player.doing(id) if player else None

    def scenes(request: Request) -> Response:
        return list_of(request.query_params, {})

    def list_of(asked: Mapping[str, str], typed: Mapping[str, str], status: int = 200, fault: str = "") -> Response:
        """The list that is `asked` for, above it the form with what was `typed`, and why nothing was begun."""
        wanted = Wanted(
            asked.get("words", "")[:200], *(asked.get(name, "")[:200] for name in ("state", "harm", "method", "model"))
        )
        newer = "newer" in asked
        at, _, id = asked.get("newer" if newer else "older", "").partition(" ")
        with opened() as store:
            found = find(store, wanted, "newer" if newer else "older", (at, id))
            marked, offered = forks(store, found.rows), choices(store)
        given: Any = {"harms": HARMS, "most": MOST, "record": record.name, "setup": player.setup if player else None}
        given |= {"forks": marked, "doing": doing, "typed": typed, "fault": fault}
        return page("stage/list.html", status, found=found, wanted=wanted, choices=offered, **given)

    def scene(request: Request) -> Response:
        with opened() as store:
            answer = _answer(store, request.path_params["id"])
            idle = seconds_since_it_grew(store, answer) if answer.state == "unfinished" else 0.0
        given: Any = {"doing": doing(answer.id), "idle": idle, "calls": None}
        return page("stage/scene.html", shown=shown(answer), actor=actor, observers=observers, **given)

    def call(request: Request) -> Response:
        with opened() as store:
            answer = _answer(store, request.path_params["id"])
            found = spoken(store, answer, request.path_params["place"])
        if not found:
            raise _Missing(f"this answer has {len(answer.calls)} calls")
        return page("stage/call.html", answer=answer, spoken=found, forks=player is not None, typed=None, fault="")

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

    def read(id: str) -> Answer:
        with opened() as store:
            return _answer(store, id)

    def call_of(answer: Answer, place: int) -> Spoken | None:
        with opened() as store:
            return spoken(store, answer, place)

    async def start(request: Request, player: Player) -> Response:
        typed = await _sent(request)
        try:
            return _at(player.start(typed))
        except (InputError, StoreError, Refusal) as why:  # the form again, with what was typed
            return await run_in_threadpool(list_of, {}, typed, _status_of(why), str(why))

    async def fork(request: Request, player: Player) -> Response:
        reply, place = (await _sent(request)).get("reply", ""), request.path_params["place"]
        answer = await run_in_threadpool(read, request.path_params["id"])
        try:
            return _at(await player.fork(answer, place, reply))
        except (InputError, StoreError, Refusal) as why:  # the form again, with what was typed
            found = await run_in_threadpool(call_of, answer, place)
            if not found or found.prompt is None:
                raise
            given: Any = {"spoken": found, "forks": True, "typed": reply, "fault": str(why)}
            return page("stage/call.html", _status_of(why), answer=answer, **given)

    begins = [
        Route("/scenes", _begun(start, player), methods=["POST"]),
        Route("/scenes/{id}/calls/{place:int}/fork", _begun(fork, player), methods=["POST"]),
    ]
    return [
        *(begins if player else []),
        Route("/", _mended(scenes)),
        Route("/compare", _mended(compare)),
        Route("/scenes/{id}", _mended(scene)),
        Route("/scenes/{id}/calls/{place:int}", _mended(call)),
        Route("/scenes/{id}/file", _mended(file)),
        Route("/scenes/{id}/live", Live(record, (beside or Beside()).ends, player), methods=["GET"]),
    ]


def _answer(store: Store, id: str) -> Answer:
    answer = store.answer(id) if id else None
    if not answer or answer.id != id:
        raise _Missing("the record has no scene with this id")
    return answer


async def _sent(request: Request) -> dict[str, str]:
    """The fields of a form, with the line ends that a model writes."""
    return {name: text.replace("\r\n", "\n") for name, text in (await fields(request)).items()}


def _at(id: str) -> Response:
    """Leads to the page of this answer."""
    return RedirectResponse(f"/scenes/{id}", 303)


def _begun(begin: Callable[[Request, Player], Awaitable[Response]], player: Player | None) -> Any:
    """`begin`, with a page that says why nothing was begun."""

    async def begins(request: Request) -> Response:
        assert player, "without a player there is no such route"
        try:
            return await begin(request, player)
        except (_Missing, InputError, StoreError, Refusal) as why:
            headers = why.headers if isinstance(why, Refusal) else None
            return page("stage/message.html", _status_of(why), headers, message=str(why))
        except Gone:
            return Response(status_code=400)

    return begins


def _status_of(why: Exception) -> int:
    if isinstance(why, Refusal):
        return why.status
    if isinstance(why, _Missing):
        return 404
    return 503 if isinstance(why, StoreError) else 422


def _mended(show: Page) -> Page:
    """`show` with a page for what can go wrong. Starlette runs it on a thread, since it reads a file."""

    @wraps(show)
    def shows(request: Request) -> Any:
        try:
            return show(request)
        except (_Missing, StoreError) as why:
            return page("stage/message.html", _status_of(why), message=str(why))

    return shows
