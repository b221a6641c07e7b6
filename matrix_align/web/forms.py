"""Reads what a page sends: the fields of a form, with limits. Knows no page."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

from ..errors import InputError
from .bodies import Room, body_of

LIMIT = 1 << 20  # bytes of a form
SMALL = 1 << 16  # bytes of a small one: as many as the head of a request may have
SECONDS = 30.0  # in which it has to arrive
FIELDS = 10
ROOM = Room(32 * 2**20)  # beside that of the gateway's requests


async def fields(request: Request, small: bool = False) -> dict[str, str]:
    """The form's fields. Raises Refusal if it is too long or too slow, Gone, and InputError if it is none.

    A `small` form has room whatever else is sent, so strangers, who need no key to send one, can't keep others out.
    """
    limit, room = (SMALL, Room(SMALL)) if small else (LIMIT, ROOM)
    async with body_of(request.scope, request.receive, limit, SECONDS, room) as body:
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS, errors="strict"))
        except ValueError:
            raise InputError("the form can't be read; go back and try again") from None
