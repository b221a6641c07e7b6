"""The model behind an OpenAI-compatible server.

Owns when a reply of no use is asked for again, and what a server is asked when it is opened. Knows no HTTP (http.py),
not how a server wants to be asked (dialect.py), and nothing of scenes or of the store.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from ..errors import BadReply, ContextOverflow, InputError, ModelError, Overloaded, Refused, Unreachable
from ..types import Message, Sampling, Usage, shorten
from .completion import read
from .dialect import Chat, Dialect, log
from .http import Connection
from .identity import digest_of, entries, known_by
from .model import Reply
from .structured import Wanted, is_text, parse

T = TypeVar("T", bound="str | BaseModel")

REPLIES = 3  # times a reply of the wrong form is asked for again, at most, the first included
ROOM = 4  # a reply cut by max_tokens is asked for again with this many times the room
LONG = 4000  # characters of a prompt, from which on its tokens are compared with its length
CHARACTERS = 12  # that a token stands for at most; real ones stand for some 4, and less outside English


class Endpoint:
    """A model served at an OpenAI-compatible URL (vLLM, SGLang, llama.cpp, Ollama, OpenAI, …).

    Use as an async context manager. `model` may be left out where the server serves just one. `digest` says which
    weights these are. Without it the server's list of models is asked what tells them from others of the same name;
    the digest is made of that (`identified_by`), and empty where the list says nothing. `connect` and `read` are
    seconds; `attempts` bounds how often one request is sent.

    Raises InputError for an unusable URL, and ModelError's classes for what the server does.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        key: str | None = None,
        digest: str | None = None,
        attempts: int = 5,
        connect: float = 10.0,
        read: float = 600.0,
    ) -> None:
        self._http = Connection(url, key, attempts=attempts, connect=connect, read=read)
        self.name = model or ""
        self.digest = digest or ""
        self.identified_by: tuple[str, ...] = ()  # the fields of the server's list that the digest is made of
        self._told_digest = digest is not None
        self._dialect = Dialect(self._http.url)
        self._roomier = 1  # times the room of a typed reply that this model has needed
        self._cut_prompts = False  # said already

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
            if not self.name or not self._told_digest:
                await self._identify()
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
            return Reply(value, text, reasoning, usage, cut="length" if cut else "")
        bad = BadReply(
            f"{self.name}: no usable reply in {turn + 1} attempts; ask again, or a larger model; "
            f"the last: {shorten(fault, 300)}",
            text or reasoning,
        )
        bad.usage = usage.model_copy(update={"seconds": time.monotonic() - began})
        raise bad

    async def _complete(self, chat: Chat, reply: Wanted[Any], sampling: Sampling, room: int, turn: int) -> Any:
        """The server's body for one chat, after giving up whatever the server says or shows that it does not take."""
        dialect = self._dialect
        form = dialect.form(reply)
        while True:
            request = {"model": self.name, **dialect.request(chat, reply, form, sampling, room, turn)}
            try:
                body = await self._request("POST", "chat/completions", request)
            except ContextOverflow:
                raise
            except Refused as refusal:
                form = dialect.refused(refusal, chat, reply, form)
                if request == {"model": self.name, **dialect.request(chat, reply, form, sampling, room, turn)}:
                    raise
                continue
            except Overloaded as error:
                if not dialect.may_break(error.status, reply, form) or not await self.answers():
                    raise
                try:  # the server may just have come up
                    body = await self._http.once("POST", "chat/completions", request)
                except Overloaded:
                    form = dialect.broke(error.status, reply)
                    continue
            dialect.answered(body, reply, form)
            self._compare_length(chat, body)
            return body

    async def answers(self) -> bool | None:
        """Whether a chat of one token is answered, asked once; None where it is refused, whatever one asks."""
        hello = [{"role": "user", "content": "Hello"}]
        shortest = self._dialect.request(hello, str, "text", Sampling(temperature=0, max_tokens=1, seed=0), 1, 0)
        try:
            await self._http.once("POST", "chat/completions", {"model": self.name, **shortest}, 60)
        except Refused as refusal:
            return True if refusal.mendable else None  # it may want more than one token
        except (Overloaded, Unreachable):
            return False
        except BadReply:
            pass
        return True

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        return await self._http.request(method, path, body)

    async def _identify(self) -> None:
        """Learns the model's name and digest, as far as they were not given, from the server's list of models."""
        try:
            models = entries(await self._request("GET", "models", None))
        except ModelError as error:
            if not self.name or not _has_no_list(error):
                raise
            models = {}
        if not self.name:
            if len(models) != 1:
                known = shorten(", ".join(models), 300) or "none"
                raise InputError(f"{self.url} serves {len(models)} models; name one with --model (it has: {known})")
            self.name = next(iter(models))
        if not self._told_digest:
            fields = known_by(models, self.name, self._http.date)
            self.digest, self.identified_by = digest_of(fields), tuple(fields)

    def _compare_length(self, chat: Chat, body: Any) -> None:
        """Says, once, that a server reads far fewer tokens than a prompt has: it cuts prompts, and does not say so."""
        length = sum(len(turn["content"]) for turn in chat)
        if length < LONG or self._cut_prompts:
            return
        tokens = read(body).usage.prompt_tokens
        if 0 < tokens * CHARACTERS < length:
            self._cut_prompts = True
            log.warning(
                "%s has read %s tokens of a prompt of %s characters: it cuts long prompts; give it a longer context "
                "(num_ctx, --max-model-len)",
                *(self.url, f"{tokens:,}", f"{length:,}"),
            )


def _has_no_list(error: ModelError) -> bool:
    """Whether a server that was asked for its models has none to show, rather than being away just now."""
    if isinstance(error, Overloaded):
        return error.status in (500, 501)
    return not isinstance(error, Unreachable) or error.how == "no JSON"
