"""The gateway's addresses."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...methods import METHODS
from .completions import Completions
from .gateway import Gateway


def routes(gateway: Gateway) -> list[Route]:
    """`/v1/chat/completions`, `/v1/models`, `/healthz` and `/metrics`."""

    async def models(request: Request) -> JSONResponse:
        """The upstream's models, as it describes them, then the methods."""
        plain = {"object": "model", "created": 0}
        upstream = [
            {**plain, "owned_by": "upstream", **fields, "id": name} for name, fields in (await gateway.models()).items()
        ]
        methods = [{**plain, "id": name, "owned_by": "matrix-align"} for name in METHODS]
        return JSONResponse({"object": "list", "data": [*upstream, *methods]})

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def metrics(request: Request) -> Response:
        return Response(gateway.figures.text(), media_type="text/plain; version=0.0.4")

    return [
        Route("/v1/chat/completions", Completions(gateway)),
        Route("/v1/models", models),
        Route("/healthz", health),
        Route("/metrics", metrics),
    ]
