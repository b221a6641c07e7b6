"""What all pages share: the templates, the headers, the static files. Knows no page.

Every text of a model or a user is data: Jinja escapes it, and the policy lets a browser run nothing but our own files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none, a browser sends forms from "null", which the guard refuses
    "Cache-Control": "no-store",
}

TEMPLATES = Environment(
    loader=PackageLoader(__package__, "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, status: int = 200, headers: Mapping[str, str] | None = None, /, **given: Any) -> HTMLResponse:
    """The template, filled in with `given`, as a response with the headers of all pages, and `headers`."""
    return HTMLResponse(TEMPLATES.get_template(template).render(**given), status, {**HEADERS, **(headers or {})})


def static() -> Mount:
    """The route of the files that pages load."""
    return Mount("/static", StaticFiles(directory=STATIC))
