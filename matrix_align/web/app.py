"""The one ASGI app: mounts the gateway and the pages, and puts the guard in front of them.

Knows nothing of what the parts do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from ..methods import METHODS, Setup
from ..types import Sampling
from .beside import Beside
from .gateway import Gateway
from .gateway import routes as gateway_routes
from .guard import Access, Guard
from .pages import static
from .rating import routes as rating_routes
from .stage import Player
from .stage import routes as stage_routes
from .unserved import handlers


def app(gateway: Gateway | None, access: Access, ratings: Sequence[Path] = (), beside: Beside | None = None) -> ASGIApp:
    """The app. `access` says who may use it. `ratings` are the folders of ratings whose pages it serves.

    The stage shows the gateway's record, and plays scenes in it as the gateway does by default. What it plays goes on
    `beside` requests. Without a gateway there are only the pages of ratings.
    """
    beside = beside or Beside()
    routes: list[BaseRoute] = []
    if gateway:
        player = Player(gateway.recorded, gateway.store, _matrix(gateway), beside)
        routes = [*gateway_routes(gateway), *stage_routes(gateway.store.path, player, beside)]
    routes += [*rating_routes(ratings, alone=gateway is None), static()]
    return Guard(Starlette(routes=routes, exception_handlers=handlers(alone=gateway is None)), access)


def _matrix(gateway: Gateway) -> Setup:
    """How the gateway plays a scene where a request leaves everything open."""
    method = METHODS["matrix"]

    def made(kind: Any) -> Any:
        return kind(**{name: gateway.defaults[name] for name in kind.model_fields if name in gateway.defaults})

    return Setup(method, made(method.settings), made(Sampling))
