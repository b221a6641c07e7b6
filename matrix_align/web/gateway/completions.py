"""`POST /v1/chat/completions`: what a request asks for, and who does it.

A pure ASGI endpoint, since most requests are only passed on, and each layer costs them time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from starlette.types import Receive, Scope, Send

from ...errors import MatrixAlignError
from ...llm.lenient import parsed
from ...methods import METHODS
from ...types import shorten
from ..bodies import body_of
from ..figures import Account
from ..replies import Gone, Refusal, in_a_header, send_refusal, while_connected
from .answering import Answering
from .asked import Asked, Own, alone, options_of, settings_of
from .asked import asked as read
from .failures import refusal_of
from .gateway import Gateway
from .opening import kept_open
from .passing import BrokenOff, pass_on
from .triage import harmless

GONE = 499  # what logs and figures call a request whose client hung up


class Completions:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        account = Account()
        try:
            await self._within_limits(scope, receive, send, account)
        except Refusal as refusal:
            account.status = refusal.status
            await send_refusal(send, refusal)
        except Gone:
            account.status = GONE
        except asyncio.CancelledError:  # the server ends, and says so itself
            account.status = 503
            raise
        except BrokenOff:  # uvicorn closes the connection, so that the client does not take half a body for a whole one
            pass
        finally:
            self._gateway.figures.note(account)

    async def _within_limits(self, scope: Scope, receive: Receive, send: Send, account: Account) -> None:
        """Answers, unless too many requests are in flight."""
        gateway = self._gateway
        if gateway.in_flight >= gateway.limits.requests:
            raise Refusal(429, "the gateway has too many requests; try again soon", headers={"Retry-After": "1"})
        gateway.in_flight += 1
        try:
            await self._complete(scope, receive, send, account)
        finally:
            gateway.in_flight -= 1

    async def _complete(self, scope: Scope, receive: Receive, send: Send, account: Account) -> None:
        gateway = self._gateway
        if scope["method"] != "POST":
            raise Refusal(405, "chat completions are asked for by POST", headers={"Allow": "POST"})
        async with body_of(scope, receive, gateway.limits.body, gateway.limits.body_seconds) as body:
            account.received = time.perf_counter()
            async with while_connected(receive, send) as watched:
                asked = _object(body)
                model = asked.get("model")
                if "matrix_align" in asked and asked["matrix_align"] is None:  # as if it were not given
                    del asked["matrix_align"]
                    body = json.dumps(asked).encode()
                if not isinstance(model, str):
                    what = "missing" if model is None else "no text"
                    raise Refusal(400, f"model is {what}; wanted a name, such as matrix", param="model")
                if model and model == gateway.alias:  # the model's server knows only its other name
                    model = asked["model"] = gateway.upstream.name
                    body = json.dumps(asked).encode()
                if model not in METHODS:
                    await gateway.find(model)
                if model in METHODS or "matrix_align" in asked:
                    await self._by_method(asked, model, scope, watched, account)
                else:
                    del asked  # a body takes many times its room once it is parsed
                    account.way = "passed"
                    await pass_on(gateway.upstream, scope, body, watched, account)

    async def _by_method(self, body: dict[str, Any], model: str, scope: Scope, send: Send, account: Account) -> None:
        """Answers by a method; or by the model alone, if the request says so or asks for what only that can do."""
        gateway = self._gateway
        own = options_of(body)
        method = _method(own, model)
        settings = settings_of(own, method, gateway.defaults)
        target = gateway.upstream.name if model in METHODS else model
        account.way = "bypassed"

        async def by_model(send: Send, headers: Mapping[str, str]) -> None:
            await pass_on(gateway.upstream, scope, _to_model(body, target), send, account, headers)

        if why := alone(body):
            await by_model(send, {"X-Matrix-Align-Bypass": in_a_header([why])})
            return
        wanted = read(body, own, method, settings, gateway.defaults)
        headers = {"X-Matrix-Align-Simulate": wanted.simulate}
        if wanted.simulate == "never":
            await by_model(send, headers)
            return
        if target != gateway.upstream.name:
            raise Refusal(400, f"methods work with {gateway.upstream.name}, not with {target}", param="model")
        if wanted.simulate == "always":
            with gateway.place():
                await self._answer(Answering(gateway, wanted, headers), send, account)
            return
        async with kept_open(send, headers, account) if wanted.stream else nullcontext(send) as kept:
            if not await self._answered(wanted, headers, kept, account):
                await by_model(kept, {"X-Matrix-Align-Simulate": "auto; let through"})

    async def _answer(self, answering: Answering, send: Send, account: Account) -> None:
        account.way = answering.asked.setup.method.name
        try:
            await answering.send(send)
            account.status = 200
        finally:
            account.answer = answering.answer

    async def _answered(self, asked: Asked, headers: Mapping[str, str], send: Send, account: Account) -> bool:
        """Answers by the method, unless one call says that the question is harmless. The call is in the answer's turn.

        Returns whether it has answered.
        """
        gateway = self._gateway
        with gateway.place():
            async with gateway.turn():
                try:
                    seed = asked.setup.sampling.seed
                    passes, account.triage = await harmless(asked.question, gateway.recorded, seed)
                except MatrixAlignError as error:
                    raise refusal_of(error) from error
                if not passes:
                    await self._answer(Answering(gateway, asked, headers, has_turn=True), send, account)
        return not passes


def _to_model(body: dict[str, Any], model: str) -> bytes:
    rest = {name: value for name, value in body.items() if name != "matrix_align"}
    return json.dumps(rest | {"model": model}).encode()


def _method(own: Own, model: str) -> str:
    """The method that is asked for, by the model's name or by the option."""
    method = own.method or (model if model in METHODS else "matrix")
    if method not in METHODS:
        got = shorten(method, 60)
        raise Refusal(
            400, f"matrix_align.method is one of {', '.join(METHODS)} (got {got})", param="matrix_align.method"
        )
    if model in METHODS and method != model:
        raise Refusal(
            400, f"the model {model} and the method {method} contradict each other", param="matrix_align.method"
        )
    return method


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = parsed(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    if not isinstance(asked, dict):
        raise Refusal(400, "the body is not a JSON object")
    return asked
