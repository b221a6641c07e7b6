"""The one ASGI app: mounts the gateway and the pages, and puts the guard in front of them.

Knows nothing of what the parts do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from .gateway import Gateway
from .gateway import routes as gateway_routes
from .guard import Access, Guard
from .pages import static
from .rating import routes as rating_routes
from .stage import Player
from .stage import routes as stage_routes


def app(gateway: Gateway | None, access: Access, ratings: Sequence[Path] = ()) -> ASGIApp:
    """The app. `access` says who may use it. `ratings` are the folders of ratings whose pages it serves.

    The stage shows the gateway's record. Without a gateway there are only the pages of ratings.
    """
    routes: list[BaseRoute] = []
    if gateway:
        player = Player(gateway.recorded, gateway.store)
        routes = [*gateway_routes(gateway), *stage_routes(gateway.store.path, player)]
    routes += [*rating_routes(ratings), static()]
    return Guard(Starlette(routes=routes), access)
