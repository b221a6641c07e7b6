"""The one ASGI app: mounts the gateway and the pages, and puts the guard in front of them.

Knows nothing of what the parts do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from .gateway import Gateway
from .gateway import routes as gateway_routes
from .guard import Access, Guard
from .rating import routes as rating_routes


def app(gateway: Gateway | None, access: Access, ratings: Sequence[Path] = ()) -> ASGIApp:
    """The app. `access` says who may use it. `ratings` are the folders of ratings whose pages it serves.

    Without a gateway it serves the pages alone.
    """
    routes: list[BaseRoute] = [*gateway_routes(gateway)] if gateway else []
    routes += [*rating_routes(ratings), Mount("/static", StaticFiles(packages=[("matrix_align.web", "static")]))]
    return Guard(Starlette(routes=routes), access)
