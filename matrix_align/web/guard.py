"""Who may use the app: keys, the address a browser may name, other sites' pages, and requests that come round again.

A pure ASGI layer in front of everything. Sees headers only, never a body. No key is logged or sent anywhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from ..llm.http import VIA
from .figures import Account, Figures
from .replies import Refusal, header, send_refusal

OPEN = ("/healthz",)  # needs no key: it tells nothing but that the app runs
OPEN_BELOW = ("/rate/", "/static/")  # nor do these: a rater has a secret link instead, and no use of the model
LOCAL = {"localhost", "127.0.0.1", "[::1]"}  # names of this machine that a browser can send as the host


@dataclass(frozen=True)
class Access:
    """`keys` are accepted as bearer tokens, and as passwords of HTTP's basic authentication, which browsers ask for.

    Without keys everybody may use the app who can reach it. `local` says that it listens on the loopback only: without
    keys it then accepts only names of this machine as its host, so that no website can reach it under its own name.
    `id` is the id of our connection to the model: a request that carries it has come round in a circle.
    """

    keys: Sequence[str] = field(default=(), repr=False)
    local: bool = True
    id: str = ""


class Guard:
    """`app` behind `access`. `figures` count what is refused, if there are any."""

    def __init__(self, app: ASGIApp, access: Access, figures: Figures | None = None) -> None:
        self._app = app
        self._figures = figures
        self._digests = [_digest(key) for key in access.keys]
        self._local = access.local and not access.keys
        self._id = access.id.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            if self._figures:
                self._figures.note(Account(status=refusal.status))
            await send_refusal(send, refusal)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        """Why this request is not served; None if it is."""
        if self._id and self._id in header(scope, _VIA):
            return Refusal(508, "this gateway is its own upstream; give --endpoint the address of the model's server")
        host = header(scope, b"host").decode("latin-1")
        if self._local and host and _name(host) not in LOCAL:
            return Refusal(
                403,
                f"{host!r} is not a name of this machine; use localhost or 127.0.0.1, "
                "or start serve with --key: behind a proxy with a name of its own it needs one",
            )
        origin = header(scope, b"origin").decode("latin-1")
        if origin and origin.partition("://")[2] != host:
            return Refusal(
                403,
                f"pages of other sites can't use this app; a proxy in front must keep the Host header, not {host!r}",
            )
        is_open = scope["path"] in OPEN or scope["path"].startswith(OPEN_BELOW)
        sent = header(scope, b"authorization")
        if self._digests and not is_open and not self._has_key(sent):
            headers = {} if scope["path"].startswith("/v1/") else {"WWW-Authenticate": 'Basic realm="matrix-align"'}
            why = "the key that was sent is none of this gateway's" if sent else "no key was sent"
            advice = "send one that serve was started with, as `Authorization: Bearer KEY`"
            return Refusal(401, f"{why}; {advice}", "invalid_api_key", headers=headers)
        return None

    def _has_key(self, authorization: bytes) -> bool:
        """Compares with every key, and takes as long whichever fits."""
        kind, _, sent = authorization.partition(b" ")
        if kind.lower() == b"basic":
            try:
                sent = base64.b64decode(sent).partition(b":")[2]
            except binascii.Error:
                return False
        elif kind.lower() != b"bearer":
            return False
        given = hashlib.sha256(sent.strip()).digest()
        fits = [hmac.compare_digest(given, digest) for digest in self._digests]
        return any(fits)


_VIA = VIA.lower().encode()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
