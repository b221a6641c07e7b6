"""What a request gets that no route answers, or whose route fails: OpenAI's form, or a page for a browser.

There are no pages below /v1. Knows no route.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .pages import page
from .replies import Refusal

Handler = Callable[[Request, Exception], Response]


def handlers(alone: bool = False) -> dict[Any, Handler]:
    """What answers each kind of exception. `alone`: only the pages of ratings are served, and no model."""
    where, home = ("the ratings are at /rate", "All ratings") if alone else ("the API is at /v1", "All scenes")

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        asked = f"{request.method} {request.scope['raw_path'].decode('latin-1')}"
        why = f"{asked} is not served here" if error.status_code in (404, 405) else f"{asked}: {error.detail}"
        return _told(request, Refusal(error.status_code, f"{why}; {where}", headers=error.headers), home)

    def failed(request: Request, error: Exception) -> Response:
        return _told(request, Refusal(500, "the server failed; its log says why"), home)

    return {HTTPException: refused, Exception: failed}


def _told(request: Request, refusal: Refusal, home: str) -> Response:
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/"):
        return page("stage/message.html", refusal.status, refusal.headers, message=str(refusal), home=home)
    return JSONResponse(refusal.body, refusal.status, refusal.headers)
