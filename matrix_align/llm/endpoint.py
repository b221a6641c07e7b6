"""The model behind an OpenAI-compatible server.

Owns which of the ways to ask for a typed reply the server takes, and when a reply of no use is asked for again.
Knows no HTTP (http.py), and nothing of scenes or of the store.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from ..errors import BadReply, ContextOverflow, InputError, ModelError, Refused
from ..types import Message, Sampling, Usage, clean, shorten
from .completion import read
from .http import RETRIED, Connection
from .model import Reply
from .schema import instruction, plain_schema_of, schema_of
from .structured import Wanted, class_of, is_text, parse

T = TypeVar("T", bound="str | BaseModel")

REPLIES = 3  # times a reply of the wrong form is asked for again, at most, the first included
ROOM = 4  # a reply cut by max_tokens is asked for again with this many times the room
# How a server says that it does not take a field at all; of a value out of range it speaks otherwise.
NOT_TAKEN = re.compile(r"support|unknown|unrecogni[sz]ed|unexpected|extra|not (?:allowed|permitted|accepted)", re.I)


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
        self._http = Connection(url, key, attempts=attempts, connect=connect, read=read)
        self.name = model or ""
        self.digest = digest
        # What this server has refused so far, and so is not asked again.
        self._forms = ["schema", "plain schema", "words"]
        self._left_out: set[str] = set()
        self._roomier = 1  # times the room of a typed reply that this model has needed
        self._room = "max_tokens"

    @property
    def url(self) -> str:
        return self._http.url

    @property
    def pushed_back(self) -> int:
        """Times the server has said that it is asked too much."""
        return self._http.pushed_back

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        try:
            if not self.name:
                self.name = await self._only_model()
        except BaseException:
            await self._http.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.__aexit__()

    async def ask(self, messages: Sequence[Message], reply: Wanted[T], sampling: Sampling) -> Reply[T]:
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
            said = read(body)
            usage = usage + said.usage if turn else said.usage
            text, reasoning, cut = said.text, said.reasoning, said.cut
            try:
                if not text and said.finish != "stop":  # nothing is a reply only where the model has chosen to end
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
        self, chat: list[dict[str, Any]], reply: Wanted[Any], sampling: Sampling, room: int, turn: int
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
                schema = schema_of(reply) if form == "schema" else plain_schema_of(reply)
                shape = {"name": class_of(reply).__name__, "schema": schema, "strict": True}
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
        shortest = {"model": self.name, "messages": [{"role": "user", "content": "Hello"}], self._room: 1}
        status = await self._http.status("POST", f"{self.url}/chat/completions", shortest, 60)
        if status is None or status in RETRIED:
            return False
        return True if status in (200, 400, 413, 422) else None  # it may want more than one token

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        return await self._http.request(method, path, body)

    async def _only_model(self) -> str:
        body = await self._request("GET", "models", None)
        data = body.get("data") if isinstance(body, dict) else None
        listed = data if isinstance(data, list) else []
        names = [clean(str(each["id"])) for each in listed if isinstance(each, dict) and each.get("id")]
        if len(names) == 1:
            return names[0]
        known = shorten(", ".join(names), 300) or "none"
        raise InputError(f"{self.url} serves {len(names)} models; name one with --model (it has: {known})")
