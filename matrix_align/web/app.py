"""The one ASGI app: mounts the gateway and the pages, and puts the guard in front of them.

Knows nothing of what the parts do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from ..methods import METHODS, Setup
from ..types import Sampling
from .beside import Beside
from .gateway import COMPLETIONS, Completions, Gateway
from .gateway import routes as gateway_routes
from .guard import Access, Guard
from .pages import static
from .rating import routes as rating_routes
from .stage import Player
from .stage import routes as stage_routes
from .unserved import Handler, handlers


def app(gateway: Gateway | None, access: Access, ratings: Sequence[Path] = (), beside: Beside | None = None) -> ASGIApp:
    """The app. `access` says who may use it. `ratings` are the folders of ratings whose pages it serves.

    The stage shows the gateway's record, and plays scenes in it as the gateway does by default. What it plays goes on
    `beside` requests. Without a gateway there are only the pages of ratings.
    """
    beside = beside or Beside()
    routes: list[BaseRoute] = []
    if gateway:
        player = Player(gateway.recorded, gateway.store, _matrix(gateway), beside, gateway.figures)
        routes = [*gateway_routes(gateway), *stage_routes(gateway.store.path, player, beside)]
    routes += [*rating_routes(ratings, alone=gateway is None), static()]
    answers = handlers(alone=gateway is None)
    served: ASGIApp = Starlette(routes=routes, exception_handlers=answers)
    if gateway:
        return Guard(_completions_first(gateway, served, answers[Exception]), access, gateway.figures)
    return Guard(served, access)


def _completions_first(gateway: Gateway, others: ASGIApp, failed: Handler) -> ASGIApp:
    """Chat completions go straight to the gateway: most are only passed on, and Starlette's layers cost each some time.

    `others` serves every other path, and this one where the app is mounted below another. `failed` answers for what
    should not happen, as it does there.
    """
    completions = ServerErrorMiddleware(Completions(gateway), failed)

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        first = scope["type"] == "http" and scope["path"] == COMPLETIONS
        await (completions if first else others)(scope, receive, send)

    return served


def _matrix(gateway: Gateway) -> Setup:
    """How the gateway plays a scene where a request leaves everything open."""
    method = METHODS["matrix"]

    def made(kind: Any) -> Any:
        return kind(**{name: gateway.defaults[name] for name in kind.model_fields if name in gateway.defaults})

    return Setup(method, made(method.settings), made(Sampling))
