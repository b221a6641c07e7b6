"""`POST /v1/chat/completions`: what a request asks for, and who does it.

A pure ASGI endpoint, since most requests are only passed on, and each layer costs them time.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json
from starlette.types import Receive, Scope, Send

from ...methods import METHODS
from ..replies import Gone, Refusal, body_of, send_refusal, while_connected
from .gateway import Gateway
from .passing import pass_on


class Completions:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self._gateway
        if gateway.in_flight >= gateway.limits.requests:
            busy = Refusal(429, "the gateway has too many requests; try again soon", headers={"Retry-After": "1"})
            await send_refusal(send, busy)
            return
        gateway.in_flight += 1
        try:
            await self._complete(scope, receive, send)
        except Refusal as refusal:
            await send_refusal(send, refusal)
        except Gone:
            pass
        finally:
            gateway.in_flight -= 1

    async def _complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self._gateway
        if scope["method"] != "POST":
            raise Refusal(405, "chat completions are asked for by POST", headers={"Allow": "POST"})
        body = await body_of(scope, receive, gateway.limits.body, gateway.limits.body_seconds)
        asked = _object(body)
        model = asked.get("model")
        if not isinstance(model, str) or not (model in METHODS or await gateway.has(model)):
            raise Refusal(
                404,
                f"there is no model {model!r} here; GET /v1/models lists those there are",
                "model_not_found",
                "model",
            )
        if model in METHODS:
            raise Refusal(501, f"the gateway does not answer by {model} yet")
        async with while_connected(receive):
            await pass_on(gateway.upstream, scope, body, send)


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = from_json(body)
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    if not isinstance(asked, dict):
        raise Refusal(400, "the body is not a JSON object")
    return asked
