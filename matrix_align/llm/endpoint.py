"""The model behind an OpenAI-compatible server.

Owns the HTTP of one server: pool, time-outs, retries, and which of the ways to ask for a typed reply it takes.
Knows nothing of scenes or of the store.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel
from pydantic_core import from_json, to_json
from yarl import URL

from ..errors import BadReply, ContextOverflow, InputError, ModelError, Overloaded, Refused, Unreachable
from ..types import Message, Sampling, Usage, clean, shorten
from .model import Reply
from .structured import instruction, is_text, parse, plain_schema_of, schema_of, split_reasoning

T = TypeVar("T", bound="str | BaseModel")

RETRIED = {408, 409, 429, 500, 502, 503, 504, 520, 522, 524, 529}
REPLIES = 3  # times a reply of the wrong form is asked for again, at most, the first included
ROOM = 4  # a reply cut by max_tokens is asked for again with this many times the room
BODY_LIMIT = 16 * 2**20  # bytes; a longer body is no reply
# How a server says that it does not take a field at all; of a value out of range it speaks otherwise.
NOT_TAKEN = re.compile(r"support|unknown|unrecogni[sz]ed|unexpected|extra|not (?:allowed|permitted|accepted)", re.I)
OVERFLOW = re.compile(r"context[ _](length|size|window)|exceed_context|too many tokens|prompt is too long", re.I)


class Endpoint:
    """A model served at an OpenAI-compatible URL (vLLM, SGLang, llama.cpp, Ollama, OpenAI, …).

    Use as an async context manager. `model` may be left out where the server serves just one. `connect` and `read`
    are seconds; `attempts` bounds how often one request is sent.

    Raises InputError for an unusable URL, and ModelError's classes for what the server does.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        key: str | None = None,
        digest: str = "",
        attempts: int = 5,
        connect: float = 10.0,
        read: float = 600.0,
    ) -> None:
        self.url = _base(url)
        self.name = model or ""
        self.digest = digest
        self._key = _usable(key)
        self._attempts = attempts
        self._read = read
        self._timeout = aiohttp.ClientTimeout(total=read, sock_connect=connect)
        self._session: aiohttp.ClientSession | None = None
        # What this server has refused so far, and so is not asked again.
        self._forms = ["schema", "plain schema", "words"]
        self._left_out: set[str] = set()
        self.pushed_back = 0  # times the server has said that it is asked too much (429, 503)
        self._roomier = 1  # times the room of a typed reply that this model has needed
        self._room = "max_tokens"

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
        try:
            if not self.name:
                self.name = await self._only_model()
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session
        await self._session.close()

    async def ask(self, messages: Sequence[Message], reply: type[T], sampling: Sampling) -> Reply[T]:
        """One reply of the asked type; a reply of another form is sent back with the fault, at most twice."""
        chat = [message.model_dump() for message in messages]
        began, usage, room = time.monotonic(), Usage(), sampling.max_tokens
        if not is_text(reply):
            room *= self._roomier
        fault = text = reasoning = ""
        for turn in range(REPLIES):
            try:
                body = await self._complete(chat, reply, sampling, room, turn)
            except ModelError as error:
                mendable = isinstance(error, Refused) and error.mendable
                # It was our wish for more room, or the correction, that did not fit.
                if turn and (isinstance(error, ContextOverflow) or (room > sampling.max_tokens and mendable)):
                    break
                error.usage = usage
                raise
            usage = usage + _usage(body) if turn else _usage(body)
            reasoning, text, finish = _content(body)
            cut = finish == "length"
            try:
                if not text and finish != "stop":  # nothing is a reply only where the model has chosen to end
                    raise ValueError("the reply is empty")
                value = parse(text, reply)
            except ValueError as error:
                fault = f"cut off after {room} tokens: {error}" if cut else str(error)
                if cut and not (text and is_text(reply)):
                    room *= ROOM
                    if not is_text(reply):  # a model that reasons at length will do so each time
                        self._roomier = min(room // sampling.max_tokens, ROOM)
                else:  # told what was wrong; only the newest wrong reply, so that the prompt stays short
                    chat = [message.model_dump() for message in messages] + [
                        {"role": "assistant", "content": shorten(text, 2000) or "(nothing)"},
                        {"role": "user", "content": f"That can't be used: {shorten(fault, 400)}. Reply again, whole."},
                    ]
                continue
            usage = usage.model_copy(update={"seconds": time.monotonic() - began})
            return Reply(value, text, reasoning, usage, cut=cut)
        bad = BadReply(
            f"{self.name}: no usable reply in {turn + 1} attempts; ask again, or a larger model; "
            f"the last: {shorten(fault, 300)}",
            text or reasoning,
        )
        bad.usage = usage.model_copy(update={"seconds": time.monotonic() - began})
        raise bad

    async def _complete(
        self, chat: list[dict[str, Any]], reply: type[Any], sampling: Sampling, room: int, turn: int
    ) -> Any:
        """The server's body for one chat, after dropping whatever the server says it does not take."""
        while True:
            form = "text" if is_text(reply) else self._forms[0]
            request: dict[str, Any] = {"model": self.name, "messages": chat, self._room: room}
            request["temperature"] = sampling.temperature
            request["seed"] = (sampling.seed + turn) % 2**31
            if form == "words":
                last = {**chat[-1], "content": f"{chat[-1]['content']}\n\n{instruction(reply)}"}
                request["messages"] = [*chat[:-1], last]
            elif form != "text":
                schema = schema_of(reply) if form == "schema" else plain_schema_of(reply)  # type: ignore[arg-type]
                shape = {"name": reply.__name__, "schema": schema, "strict": True}
                request["response_format"] = {"type": "json_schema", "json_schema": shape}
            for name in self._left_out:
                request.pop(name, None)
            try:
                return await self._request("POST", "chat/completions", request)
            except ContextOverflow:
                raise
            except Refused as refusal:
                if not refusal.mendable or not self._gives_way(refusal.words, form, request):
                    raise

    def _gives_way(self, said: str, form: str, request: dict[str, Any]) -> bool:
        """Whether there is another way to ask for the same, given what the server `said` no to."""
        if "max_completion_tokens" in said and "max_tokens" in request:
            self._room = "max_completion_tokens"
            return True
        for name in ("temperature", "seed"):
            if name in request and re.search(rf"\b{name}\b", said) and NOT_TAKEN.search(said):
                self._left_out.add(name)
                return True
        # Another call may have stepped down meanwhile: then `form` is no longer the first, and is just asked anew.
        if form in ("schema", "plain schema") and re.search(r"response_format|schema|grammar|structured", said, re.I):
            if self._forms[0] == form:
                self._forms = self._forms[1:]
            return True
        return False

    async def answers(self) -> bool | None:
        """Whether a chat of one token is answered, asked once; None where it is refused, whatever one asks."""
        assert self._session, "Endpoint is used as `async with Endpoint(...) as model`"
        shortest = {"model": self.name, "messages": [{"role": "user", "content": "Hello"}], self._room: 1}
        soon = aiohttp.ClientTimeout(total=60)
        try:
            async with self._session.post(
                f"{self.url}/chat/completions", data=to_json(shortest), timeout=soon, allow_redirects=False
            ) as response:
                await response.read()
                if response.status in RETRIED:
                    return False
                return True if response.status in (200, 400, 413, 422) else None  # it may want more than one token
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _only_model(self) -> str:
        body = await self._request("GET", "models", None)
        data = body.get("data") if isinstance(body, dict) else None
        listed = data if isinstance(data, list) else []
        names = [clean(str(each["id"])) for each in listed if isinstance(each, dict) and each.get("id")]
        if len(names) == 1:
            return names[0]
        known = shorten(", ".join(names), 300) or "none"
        raise InputError(f"{self.url} serves {len(names)} models; name one with --model (it has: {known})")

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """The parsed JSON body of a 200, after retries."""
        assert self._session, "Endpoint is used as `async with Endpoint(...) as model`"
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

    def _refusal(self, text: str, response: aiohttp.ClientResponse) -> Refused:
        """What to raise for a status that asking again would not change."""
        status, words = response.status, self._words(text, response)
        said = f"{self.url} answered {status}: {words}"
        if status in (400, 413, 422) and OVERFLOW.search(text):
            return ContextOverflow(said, status, words)
        if status in (401, 403):
            said += ". Set MATRIX_ALIGN_API_KEY (or OPENAI_API_KEY) to this server's key"
        if status == 404:
            said += f". Check the address and the model's name ({self.name or 'none given'})"
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


def _content(body: Any) -> tuple[str, str, str]:
    """(reasoning, answer, finish reason) of a chat completion; anything missing or of a wrong type is empty."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
        finish = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return "", "", ""
    if not isinstance(message, dict):
        return "", "", ""
    content = message.get("content") or message.get("refusal") or ""
    if isinstance(content, list):  # of parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    thought, answer = split_reasoning(clean(content if isinstance(content, str) else ""))
    fields = (message.get(name) for name in ("reasoning_content", "reasoning"))
    told = [clean(each) for each in fields if isinstance(each, str)]
    return "\n".join([*told[:1], thought]).strip(), answer, finish if isinstance(finish, str) else ""


def _usage(body: Any) -> Usage:
    found = body.get("usage") if isinstance(body, dict) else None
    counts = found if isinstance(found, dict) else {}
    details = counts.get("prompt_tokens_details")

    def count(value: Any) -> int:
        return value if isinstance(value, int) and value > 0 else 0

    return Usage(
        prompt=count(counts.get("prompt_tokens")),
        cached=count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
        generated=count(counts.get("completion_tokens")),
        requests=1,
    )
