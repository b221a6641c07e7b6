"""The HTTP of one server: its address, connections, time-outs and retries.

`Connection.request` decides which requests are sent again, and when. failures.py classifies the failures. Knows no chat
and no reply type.
"""

from __future__ import annotations

import asyncio
import errno
import io
import random
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from email.utils import parsedate_to_datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from pydantic_core import to_json
from yarl import URL

from ..errors import BadReply, InputError, Overloaded, Unreachable
from ..types import clean, shorten
from .failures import error_of, failure_in, rejected_reply
from .lenient import parsed
from .stream import whole

NO_API = "wanted the API, not a web page; its address often ends in /v1"
BODY_LIMIT = 16 * 2**20  # bytes; a longer body is rejected
STREAM_LIMIT = 16 * BODY_LIMIT  # of one that comes in pieces: an event says a few hundred bytes about each token
VIA = "X-Matrix-Align-Via"  # the header that names the connections which a request has come through
WORDS = {  # asyncio's own words for these name a socket
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to this host",
    errno.ENETUNREACH: "no network leads there",
}
SECRET = re.compile(r"key|token|secret|sig|auth|password|code", re.I)  # query fields that may hold a key

Hear: TypeAlias = Callable[[str], None]


class Connection:
    """The connection to one server.

    Use as an async context manager. `connect` and `read` are seconds. `attempts` limits how often one request is sent.
    Raises InputError for an unusable URL, and a subclass of ModelError if the server fails.
    """

    def __init__(self, url: str, key: str | None, *, attempts: int, connect: float, read: float) -> None:
        self.url = _base(url)
        self.pushed_back = 0  # how often the server said that it gets too many requests (429, 503, 529)
        self.breaks = 0  # how often the server was away or failed; another one may have taken its place
        self.id = secrets.token_hex(8)  # sent with every request: a gateway that receives its own has been given itself
        self.date: str | None = None  # the Date header of the server's last answer
        self.key = _usable(key)
        self._attempts = attempts
        self._read = read
        self._proxy = _proxy(self.url)
        self._timeout = aiohttp.ClientTimeout(total=read, sock_connect=connect)
        self._timeout_in_pieces = aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Content-Type": "application/json", VIA: self.id}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        # No limit here. The caller limits how many scenes play at once, and time in a queue must not count as the
        # server's.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        no_cookies = aiohttp.DummyCookieJar()
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, headers=headers, connector=connector, cookie_jar=no_cookies
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        seconds: float | None = None,
        hear: Hear | None = None,
    ) -> Any:
        """The parsed JSON body of a usable answer. Sends the request again after Overloaded and Unreachable.

        `hear` is given the text so far of a completion that comes in pieces.
        """
        fault: Overloaded | Unreachable | None = None
        silent = 0
        for attempt in range(self._attempts):
            wait = random.uniform(0.5, 1.0) * min(0.5 * 2**attempt, 20.0)
            try:
                return await self.once(method, path, body, seconds, hear)
            except Overloaded as error:
                fault, wait = error, max(wait, error.wait)
                self.pushed_back += error.status in (429, 503, 529)
                self.breaks += error.status >= 500
            except Unreachable as error:
                fault = error
                self.breaks += 1
                silent += error.how == "silent"
                if silent == 2:  # it will not answer
                    break
            if attempt + 1 < self._attempts:
                await asyncio.sleep(wait)
        assert fault, "at least one attempt is made"
        raise fault

    async def once(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        seconds: float | None = None,
        hear: Hear | None = None,
    ) -> Any:
        """As `request`, but sent only once, and given up after `seconds`."""
        assert self._session, "a connection is used as `async with`"
        timeout = aiohttp.ClientTimeout(total=seconds) if seconds else self._timeout
        data = None if body is None else _payload(to_json(body))
        with self._failures(timeout.total):
            async with self._session.request(
                method,
                _address(self.url, path),
                data=data,
                timeout=timeout,
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                with _ends_with_its_connection(response):
                    text = await _read(response, hear)
                return self._usable_body(response, text, path)

    @asynccontextmanager
    async def as_it_comes(
        self, path: str, data: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to `data`, whatever its status, with a body that is still to be read. It is sent once.

        `headers` are added to those of every request. Between two pieces of the body `read` seconds may pass.
        """
        assert self._session, "a connection is used as `async with`"
        with self._failures(self._read):
            async with self._session.post(
                _address(self.url, path),
                data=_payload(data),
                headers=headers,
                timeout=self._timeout_in_pieces,
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                with _ends_with_its_connection(response):
                    yield response

    @contextmanager
    def _failures(self, seconds: float | None) -> Iterator[None]:
        """Turns every failure of a request into an error of ours. `seconds` is how long it may take."""
        try:
            yield
        except (aiohttp.InvalidURL, ValueError) as error:
            raise InputError(f"{self.url} is not a usable address: {self._shown(str(error), 200)}") from None
        except aiohttp.ConnectionTimeoutError:
            within = f"no connection within {self._timeout.sock_connect:g} s"
            raise Unreachable(f"{self.url} can't be reached: {within}") from None
        except TimeoutError:
            raise Unreachable(f"{self.url} did not answer within {seconds or 0:g} s", how="silent") from None
        except (aiohttp.ClientError, OSError) as error:
            if "WRONG_VERSION_NUMBER" in str(error):
                raise InputError(f"{self.url} does not speak https; try http://") from None
            why = self._shown(_why(error), 200)
            raise Unreachable(f"{self.url} can't be reached: {why}; is a server running there?") from None

    async def status(self, method: str, address: str, body: dict[str, Any], seconds: float) -> int | None:
        """The status of one request to a full address, sent once. None if nothing answers."""
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

    def _usable_body(self, response: aiohttp.ClientResponse, text: str, path: str) -> Any:
        """The body of a usable response. Raises the error that any other response stands for."""
        self.date = response.headers.get("Date")
        body: Any = text
        try:
            body = parsed(text)
        except (ValueError, RecursionError):
            if response.status == 200:
                shown = self._shown(text, 120)
                raise Unreachable(f"{self.url}/{path} sent no JSON: {shown!r}; {NO_API}", how="no JSON") from None
        if rejected := rejected_reply(body):
            return rejected
        if failure := failure_in(response.status, body):
            reason = self._shown(response.reason or "", 100) if response.status != 200 else ""
            words = self._shown(failure.words, 400) or reason or "no reason given"
            if 300 <= response.status < 400 and (moved_to := response.headers.get("Location")):
                words = f"moved to {self._shown(moved_to, 200)}; give the address of that server"
            raise error_of(failure, self.url, words, _retry_after(response.headers.get("Retry-After")))
        return body

    def _shown(self, text: str, limit: int) -> str:
        """The server's text, safe to show: on one line, shortened, and without our key."""
        text = clean(text)
        return shorten(text.replace(self.key, "[key]") if self.key else text, limit)


def _usable(key: str | None) -> str | None:
    """The key in a form that a header can carry. A key from a file may end in a line break."""
    key = key.strip() if key else None
    if key and not (key.isascii() and key.isprintable()):
        raise InputError("the API key holds characters that a key can't have; set MATRIX_ALIGN_API_KEY again")
    return key or None


def _base(url: str) -> str:
    """`url` as the base of every path, with the query that goes with every request."""
    url, asked, query = url.strip().partition("?")
    url = url.rstrip("/").removesuffix("/chat/completions")
    if url.count("://") > 1:
        raise InputError(f"{url!r} is more than one address; give --endpoint once for each")
    if any(sign in url for sign in "@#") or any(SECRET.search(name) for name, _ in parse_qsl(query, True)):
        raise InputError("an endpoint's address holds no user, password or key; set MATRIX_ALIGN_API_KEY for a key")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "#" not in query
    except ValueError:
        usable = False
    if not usable or not f"{url}{query}".isprintable() or " " in f"{url}{query}":
        shown = f"{url}{asked}{query}"
        raise InputError(f"{shown!r} is not a server's address; wanted something like http://localhost:8000/v1")
    base = url if parts.path.strip("/") else f"{url}/v1"
    return f"{base}?{query}" if query else base


@lru_cache(maxsize=64)
def _address(url: str, path: str) -> URL:
    """The address of `path` under the base `url`. Keeps the base's query."""
    base, _, query = url.partition("?")
    return URL(f"{base}/{path}?{query}" if query else f"{base}/{path}")


def _proxy(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name for this server. None for a server on this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        ours = ip_address(host).is_loopback
    except ValueError:
        ours = host == "localhost"
    if ours or proxy_bypass(parts.netloc) or not (proxy := getproxies().get(parts.scheme)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


@contextmanager
def _ends_with_its_connection(response: aiohttp.ClientResponse) -> Iterator[None]:
    """A block in which the response's body breaks off once its connection is lost.

    aiohttp closes a connection on which something comes that is no HTTP. It forgets the body that is being read, with
    the time-out between two pieces: whoever reads it would wait for ever, or for the time-out of the whole.
    """
    connection = response.connection
    if connection is None or connection.protocol is None:  # the body is here already
        yield
        return

    def lost(_: object) -> None:
        body = response.content
        if not body.is_eof() and not body.exception():
            body.set_exception(aiohttp.ClientPayloadError("the server sent something that is no HTTP"))

    closed = connection.protocol.closed
    if closed is None:
        lost(None)
        yield
        return
    closed.remove_done_callback(_looked_at)
    closed.add_done_callback(_looked_at)
    closed.add_done_callback(lost)
    try:
        yield
    finally:
        closed.remove_done_callback(lost)


def _looked_at(closed: asyncio.Future[None]) -> None:
    """Keeps asyncio from logging what ended an idle connection."""
    closed.exception()


async def _read(response: aiohttp.ClientResponse, hear: Hear | None = None) -> str:
    if hear and response.content_type == "text/event-stream":
        if (text := await whole(_lines(response), hear)) is None:
            raise aiohttp.ClientPayloadError("the server broke off in the middle of a reply")
        return text
    packed = "Content-Encoding" in response.headers  # then the length says little of the text's
    if not packed and (response.content_length or BODY_LIMIT) < BODY_LIMIT:
        return (await response.read()).decode("utf-8", "replace")
    body = bytearray()
    async for chunk in response.content.iter_chunked(2**16):
        body += chunk
        if len(body) > BODY_LIMIT:
            response.close()
            raise BadReply(f"the server sent more than {BODY_LIMIT >> 20} MiB for one reply")
    return body.decode("utf-8", "replace")


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of a body as they come. Raises BadReply if there are too many, or one is too long."""
    size, rest = 0, b""
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > STREAM_LIMIT or len(rest) > BODY_LIMIT:
            response.close()
            raise BadReply(f"the server sent more than {STREAM_LIMIT >> 20} MiB for one reply")
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
    yield rest


def _payload(data: bytes) -> bytes | io.BytesIO:
    """The data as aiohttp should get it. A large body goes as a file, so that sending it does not block."""
    return io.BytesIO(data) if len(data) > 2**16 else data


def _why(error: Exception) -> str:
    """What came in the way of a request, in plain words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate can't be trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        why = WORDS.get(cause.errno or 0) or cause.strerror or str(cause)
        proxied = isinstance(error, aiohttp.ClientProxyConnectionError)
        return f"the proxy {error.host}:{error.port}: {why}" if proxied else why
    return str(error) or type(error).__name__


def _retry_after(header: str | None) -> float:
    """Seconds that the server asks us to wait, at most 60. The header is a number or a date."""
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
