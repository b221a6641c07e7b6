"""The gateway's addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...methods import METHODS
from ..replies import Refusal
from .completions import Completions
from .gateway import Gateway

COMPLETIONS = "/v1/chat/completions"
PLAIN = {"object": "model", "created": 0}


def routes(gateway: Gateway) -> list[Route]:
    """`/v1/chat/completions`, `/v1/models`, `/v1/models/NAME`, `/healthz` and `/metrics`."""

    async def models(request: Request) -> JSONResponse:
        """The upstream's models, then the methods."""
        listed = [_upstream(name, fields) for name, fields in (await gateway.models()).items()]
        return JSONResponse({"object": "list", "data": [*listed, *map(_method, METHODS)]})

    async def model(request: Request) -> JSONResponse:
        name = request.path_params["name"]
        try:
            if name in METHODS:
                return JSONResponse(_method(name))
            await gateway.models()
            return JSONResponse(_upstream(name, await gateway.find(name)))
        except Refusal as refusal:
            return JSONResponse(refusal.body, refusal.status, refusal.headers)

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def metrics(request: Request) -> Response:
        return Response(gateway.figures.text(), media_type="text/plain; version=0.0.4")

    return [
        Route(COMPLETIONS, Completions(gateway)),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/healthz", health),
        Route("/metrics", metrics),
    ]


def _upstream(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A model of the upstream's, as that describes it."""
    return {**PLAIN, "owned_by": "upstream", **fields, "id": name}


def _method(name: str) -> dict[str, Any]:
    return {**PLAIN, "id": name, "owned_by": "matrix-align"}
