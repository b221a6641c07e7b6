"""The HTTP of one server: its connections, time-outs and retries, and what each failure is called.

Decides what is asked again (`RETRIED`) and after how long. Knows no chat and no reply type.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import time
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from pydantic_core import from_json, to_json
from yarl import URL

from ..errors import BadReply, ContextOverflow, InputError, ModelError, Overloaded, Refused, Unreachable
from ..types import clean, shorten

RETRIED = {408, 409, 429, 500, 502, 503, 504, 520, 522, 524, 529}
BODY_LIMIT = 16 * 2**20  # bytes; a longer body is no reply
OVERFLOW = re.compile(r"context[ _](length|size|window)|exceed_context|too many tokens|prompt is too long", re.I)


class Connection:
    """The way to one server. Use as an async context manager. `connect` and `read` are seconds; `attempts` bounds how
    often one request is sent. Raises InputError for an unusable URL, and ModelError's classes for what the server does.
    """

    def __init__(self, url: str, key: str | None, *, attempts: int, connect: float, read: float) -> None:
        self.url = _base(url)
        self.pushed_back = 0  # times the server has said that it is asked too much (429, 503)
        self._key = _usable(key)
        self._attempts = attempts
        self._read = read
        self._timeout = aiohttp.ClientTimeout(total=read, sock_connect=connect)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        # No limit here: who plays the scenes decides how many, and time spent queueing must not count as the server's.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        no_cookies = aiohttp.DummyCookieJar()
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, headers=headers, connector=connector, cookie_jar=no_cookies
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session
        await self._session.close()

    async def request(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """The parsed JSON body of a 200, after retries."""
        assert self._session, "a connection is used as `async with`"
        fault: ModelError | None = None
        silent = 0
        data = None if body is None else to_json(body)
        for attempt in range(self._attempts):
            wait = random.uniform(0.5, 1.0) * min(0.5 * 2**attempt, 20.0)
            try:
                async with self._session.request(
                    method, _parsed(f"{self.url}/{path}"), data=_payload(data), allow_redirects=False
                ) as response:
                    text = await _read(response)
                    if response.status == 200:
                        try:
                            return _json(text)
                        except (ValueError, RecursionError):
                            fault = Unreachable(f"{self.url}/{path} sent no JSON: {self._said(text, 120)!r}")
                    elif response.status in RETRIED:
                        self.pushed_back += response.status in (429, 503)
                        words = self._words(text, response)
                        fault = Overloaded(f"{self.url} answered {response.status} ({attempt + 1} attempts): {words}")
                        wait = max(wait, _retry_after(response.headers.get("Retry-After")))
                    else:
                        raise self._refusal(text, response)
            except (aiohttp.InvalidURL, ValueError) as error:
                raise InputError(f"{self.url} is no usable address: {self._said(str(error), 200)}") from None
            except aiohttp.ConnectionTimeoutError:
                fault = Unreachable(
                    f"{self.url} can't be reached: no connection within {self._timeout.sock_connect:g} s"
                )
            except TimeoutError:
                fault = Unreachable(f"{self.url} did not answer within {self._read:g} s")
                silent += 1
                if silent == 2:  # it will not speak
                    break
            except (aiohttp.ClientError, OSError) as error:
                why = self._said(str(error) or type(error).__name__, 200)
                fault = Unreachable(f"{self.url} can't be reached: {why}; is a server running there?")
            if attempt + 1 < self._attempts:
                await asyncio.sleep(wait)
        assert fault, "at least one attempt is made"
        raise fault

    async def status(self, method: str, address: str, body: dict[str, Any], seconds: float) -> int | None:
        """The status of one request to a full address, sent once; None where nobody answers."""
        assert self._session, "a connection is used as `async with`"
        soon = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.request(
                method, address, data=to_json(body), timeout=soon, allow_redirects=False
            ) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    def _refusal(self, text: str, response: aiohttp.ClientResponse) -> Refused:
        """What to raise for a status that asking again would not change."""
        status, words = response.status, self._words(text, response)
        said = f"{self.url} answered {status}: {words}"
        if status in (400, 413, 422) and OVERFLOW.search(text):
            return ContextOverflow(said, status, words)
        if status in (401, 403):
            said += ". Set MATRIX_ALIGN_API_KEY (or OPENAI_API_KEY) to this server's key"
        if status == 404:
            said += ". Check the address and the model's name "
        return Refused(said, status, words)

    def _words(self, text: str, response: aiohttp.ClientResponse) -> str:
        """The server's own words for an error, on one line."""
        try:
            error = json.loads(text)
            for name in ("error", "message", "detail"):
                if isinstance(error, dict) and error.get(name):
                    error = error[name]
            text = error if isinstance(error, str) else json.dumps(error)
        except (ValueError, RecursionError):
            pass
        return self._said(text, 400) or self._said(response.reason or "", 100) or "no reason given"

    def _said(self, text: str, limit: int) -> str:
        """Somebody else's text as we may show it: on one line, cut, and without our key in it."""
        text = clean(text)
        return shorten(text.replace(self._key, "[key]") if self._key else text, limit)


def _usable(key: str | None) -> str | None:
    """The key as a header can carry it. It may come from a file, with a line's end."""
    key = key.strip() if key else None
    if key and not (key.isascii() and key.isprintable()):
        raise InputError("the API key holds characters that no key has; set MATRIX_ALIGN_API_KEY again")
    return key or None


def _base(url: str) -> str:
    """`url` as the base that /chat/completions is appended to."""
    url = url.strip().rstrip("/").removesuffix("/chat/completions")
    if any(sign in url for sign in "@?#"):
        raise InputError("an endpoint's address holds no user, password or query; set MATRIX_ALIGN_API_KEY for a key")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise InputError(f"{url!r} is no address of a server; wanted something like http://localhost:8000/v1")
    return url if parts.path.strip("/") else f"{url}/v1"


async def _read(response: aiohttp.ClientResponse) -> str:
    if (response.content_length or BODY_LIMIT) < BODY_LIMIT:
        return (await response.read()).decode("utf-8", "replace")
    body = bytearray()
    async for chunk in response.content.iter_chunked(2**16):
        body += chunk
        if len(body) > BODY_LIMIT:
            response.close()
            raise BadReply(f"the server sent more than {BODY_LIMIT >> 20} MiB for one reply")
    return body.decode("utf-8", "replace")


def _json(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:  # slower, and takes a lone surrogate
        return json.loads(text)


@lru_cache(maxsize=64)
def _parsed(url: str) -> URL:
    return URL(url)


def _payload(data: bytes | None) -> bytes | io.BytesIO | None:
    """aiohttp wants a large body as a file, so that sending it does not block."""
    return io.BytesIO(data) if data and len(data) > 2**16 else data


def _retry_after(header: str | None) -> float:
    """Seconds a server asks us to wait, at most a minute; it may say so as a number or as a date."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), 60.0) if seconds == seconds else 0.0
