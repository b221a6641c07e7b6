"""What a request gets that no route answers, or whose route fails: OpenAI's form, or a page for a browser.

Knows no route.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .pages import page
from .replies import Refusal


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.scope['raw_path'].decode('latin-1')}"
    why = f"{asked} is not served here" if error.status_code in (404, 405) else f"{asked}: {error.detail}"
    return _told(request, Refusal(error.status_code, f"{why}; the API is at /v1", headers=error.headers))


def _failed(request: Request, error: Exception) -> Response:
    return _told(request, Refusal(500, "the server failed; its log says why"))


def _told(request: Request, refusal: Refusal) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        return page("stage/message.html", refusal.status, message=str(refusal))
    return JSONResponse(refusal.body, refusal.status, refusal.headers)


HANDLERS = {HTTPException: _refused, Exception: _failed}
