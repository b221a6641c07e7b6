"""The one ASGI app: mounts the gateway and the pages, and puts the guard in front of them.

Knows nothing of what the parts do.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.types import ASGIApp

from .gateway import Gateway
from .gateway import routes as gateway_routes
from .guard import Access, Guard


def app(gateway: Gateway, access: Access) -> ASGIApp:
    """The app. `access` says who may use it."""
    routes = [*gateway_routes(gateway)]
    return Guard(Starlette(routes=routes), access)
