"""Passes a request to the model as it is, and the model's answer back as it comes.

The body is not changed in either direction, but for the upstream's key, should its server quote it. Headers that belong
to one connection, and every key, stay behind. Knows no method.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from starlette.types import Scope, Send

from ...errors import MatrixAlignError
from ...llm.endpoint import Endpoint
from ...llm.http import VIA
from ..figures import Account
from ..replies import Refusal, header, send_last_event
from .failures import refusal_of

# Headers of the client's that the model's server gets. All others stay here: the client's key is this gateway's.
TO_UPSTREAM = (b"accept", b"content-type", b"traceparent", b"tracestate", b"x-request-id")
# Headers of the server's that the client does not get: they belong to the other connection, or to the other site.
STAY = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    *(b"content-encoding", b"content-length", b"date", b"server", b"set-cookie", b"www-authenticate"),
    *(b"strict-transport-security", b"content-security-policy", b"alt-svc"),
}
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # what no header may hold


async def pass_on(
    upstream: Endpoint,
    scope: Scope,
    body: bytes,
    send: Send,
    account: Account,
    beside: Mapping[str, str] | None = None,
) -> None:
    """Sends the body to the model and its answer to the client, piece by piece. Notes in `account` how that went.

    `beside` are headers of ours. If the model's server can't be had, raises Refusal. If it breaks off in the middle of
    its answer, a stream ends in an event with the error; anything else raises BrokenOff.
    """
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in TO_UPSTREAM}
    headers["Accept-Encoding"] = "identity"
    headers[VIA] = ", ".join(filter(None, (header(scope, VIA.lower().encode()).decode("latin-1"), upstream.id)))
    begun, streams, asked = False, False, time.perf_counter()
    try:
        async with upstream.as_it_comes(body, headers) as response:
            if 300 <= response.status < 400:
                raise Refusal(502, "the model's server has moved; the gateway needs its new address")
            if not 200 <= response.status < 600:
                raise Refusal(502, f"the model's server answered {response.status}, which is no status of an answer")
            masked = upstream.masked(failed=response.status >= 400)
            heads = [(name.lower(), value) for name, value in response.raw_headers]
            kept = [(name, masked.whole(value)) for name, value in heads if _kept(name, value)]
            streams = response.content_type == "text/event-stream"
            if response.content_length is not None and "Content-Encoding" not in response.headers and not streams:
                kept.append((b"content-length", str(response.content_length).encode()))
            kept += [(name.encode(), value.encode("latin-1")) for name, value in (beside or {}).items()]
            begun, account.status = True, response.status
            await send({"type": "http.response.start", "status": response.status, "headers": kept})
            more = True
            while more:
                piece = masked.piece(await response.content.readany())
                more = not response.content.at_eof()
                if not more:
                    account.upstream = time.perf_counter() - asked
                    piece += masked.rest()
                await send({"type": "http.response.body", "body": piece, "more_body": more})
    except MatrixAlignError as error:
        if begun:
            account.status = 502
            if not streams:
                raise BrokenOff(refusal_of(error)) from error
            await send_last_event(send, refusal_of(error))
            return
        raise refusal_of(error) from error


class BrokenOff(Exception):
    """The model's server broke off in the middle of an answer that has been sent in part. `refusal` says so."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def _kept(name: bytes, value: bytes) -> bool:
    return name not in STAY and not name.startswith(b"access-control-") and not CONTROL.search(value)
