"""What a client is told whose request the server cancels, once its time to end is over.

A pure ASGI layer around the app. Knows no route.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .replies import Refusal, header, send_last_event, send_refusal


class LastWord:
    """`app`, whose cancelled requests are answered with an error if nothing was sent, and streams with an event."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head: Message | None = None
        complete = False

        async def noted(message: Message) -> None:
            nonlocal head, complete
            await send(message)
            if message["type"] == "http.response.start":
                head = message
            else:
                complete = not message.get("more_body", False)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:  # it ends here: uvicorn would take it for a fault of the app's
            refusal = Refusal(503, "the server is ending, and had no time left for this request")
            if head is None:
                await send_refusal(send, refusal)
            elif not complete and header(head, b"content-type").startswith(b"text/event-stream"):
                await send_last_event(send, refusal)
