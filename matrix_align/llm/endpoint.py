"""The model behind an OpenAI-compatible server.

Owns when an unusable reply is asked for again, and what the endpoint asks a server when it opens. Knows no HTTP
(http.py) and no request format (dialect.py). Knows nothing of scenes or the store.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from ..errors import BadReply, ContextOverflow, InputError, ModelError, Overloaded, Refused, Unreachable
from ..types import Message, Sampling, Usage, clean, shorten
from .completion import Completion, completion_of
from .dialect import Chat, Dialect, log
from .http import Connection
from .identity import digest_of, entries, known_by
from .model import Reply
from .structured import Wanted, is_text, parse

T = TypeVar("T", bound="str | BaseModel")

REPLIES = 3  # most attempts at one reply, the first included
ROOM = 4  # factor by which the token limit grows after a reply that was too long for it
LIST = 30.0  # seconds a server may take to list its models; no model runs for that
LONG = 4000  # characters; only for longer prompts is the token count compared with the length
CHARACTERS = 12  # most characters a token stands for; real tokens stand for about 4, fewer outside English


class Endpoint:
    """A model served at an OpenAI-compatible URL (vLLM, SGLang, llama.cpp, Ollama, OpenAI, …).

    Use as an async context manager. `model` may be left out if the server serves only one. `digest` identifies the
    weights. Without it, the digest is made of the fields in the server's list of models that identify the weights
    (`identified_by`). It is empty if the list has no such field. `connect` and `read` are seconds. `attempts` limits
    how often one request is sent.

    Raises InputError for an unusable URL, and if the server comes back with other weights under the same name. Raises
    a subclass of ModelError if the server fails.
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
        self.name = clean(model or "")  # a command line can hold characters that JSON can't
        self.digest = clean(digest or "")
        self.source = ""  # where weights that are served here were fetched
        self.identified_by: tuple[str, ...] = ()  # fields of the server's list that the digest is made of
        self._told_digest = digest is not None
        self._checked_at = 0  # the connection's count of breaks when the weights were last checked
        self._dialect = Dialect(self._http.url)
        # The factor by which this model needs a higher token limit: for a typed reply (False), for a text (True)
        self._roomier = {False: 1, True: 1}
        self._cut_prompts = False  # the warning was given

    @property
    def url(self) -> str:
        return self._http.url

    @property
    def pushed_back(self) -> int:
        """How often the server has said that it gets too many requests."""
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
        """One reply of the type `reply`, after at most REPLIES attempts.

        A reply that was cut off is asked for again with a higher token limit. So is an answer whose reasoning used the
        tokens up. Any other unusable reply is sent back to the model with the fault.
        """
        asked = chat = [{"role": message.role, "content": message.content} for message in messages]
        began, usage = time.monotonic(), Usage()
        room = sampling.max_tokens * self._roomier[is_text(reply)]
        fault, text, short = "", "", None
        for turn in range(REPLIES):
            try:
                completion = await self._complete(chat, reply, sampling, room, turn)
            except ModelError as error:
                mendable = isinstance(error, ContextOverflow) or (isinstance(error, Refused) and error.mendable)
                if not mendable or (room == sampling.max_tokens and chat is asked):
                    error.usage = usage
                    raise
                if turn:  # only the higher limit, or the correction, did not fit
                    break
                room = sampling.max_tokens  # the higher limit fitted other prompts, not this one
                continue
            usage = usage + completion.usage if turn else completion.usage
            text = completion.text or completion.reasoning
            try:
                value, written = _value(completion, reply)
            except ValueError as error:
                fault = f"cut off after {room} tokens: {error}" if completion.ended == "length" else str(error)
                if completion.ended == "length" and (not is_text(reply) or not completion.answered):
                    room *= ROOM
                elif completion.ended != "filter":  # only the newest bad reply, to keep the prompt short
                    chat = [
                        *asked,
                        {"role": "assistant", "content": shorten(completion.text, 2000) or "(nothing)"},
                        {"role": "user", "content": f"That can't be used: {shorten(fault, 400)}. Reply again, whole."},
                    ]
                continue
            reasoning = completion.reasoning if written is completion.text else ""
            answer = Reply(value, written, reasoning, _timed(usage, began), cut=completion.cut)
            if completion.ended == "length" and reasoning and is_text(reply):
                short, room = answer, room * ROOM
                continue
            if room > sampling.max_tokens:  # a model that reasons at length does so every time
                self._roomier[is_text(reply)] = min(room // sampling.max_tokens, ROOM)
            return answer
        if short:
            return replace(short, usage=_timed(usage, began))
        bad = BadReply(
            f"{self.name}: no usable reply in {turn + 1} attempts; ask again, or use a larger model; "
            f"the last fault: {shorten(fault, 300)}",
            text,
        )
        bad.usage = _timed(usage, began)
        raise bad

    async def _complete(self, chat: Chat, reply: Wanted[Any], sampling: Sampling, room: int, turn: int) -> Completion:
        """The server's completion of one chat. Gives up, one by one, the parts of the request it does not accept."""
        dialect = self._dialect
        form = dialect.form(reply)
        while True:
            request = {"model": self.name, **dialect.request(chat, reply, form, sampling, room, turn)}
            try:
                body = await self._send(request)
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
                    body = await self._send(request, once=True)
                except Overloaded:
                    form = dialect.broke(error.status, reply)
                    continue
            if self._http.breaks != self._checked_at:
                await self._check_weights()
            completion = completion_of(body)
            if not completion.refused and completion.ended != "filter":
                dialect.answered(completion.text, reply, form)
            self._compare_length(chat, completion.usage)
            return completion

    async def answers(self) -> bool | None:
        """Whether the server answers a chat of one token, sent once. None if it refuses every request."""
        hello = [{"role": "user", "content": "Hello"}]
        shortest = self._dialect.request(hello, str, "text", Sampling(temperature=0, max_tokens=1, seed=0), 1, 0)
        try:
            await self._http.once("POST", "chat/completions", {"model": self.name, **shortest}, 60)
        except Refused as refusal:
            return True if refusal.mendable else None  # it may need more than one token
        except (Overloaded, Unreachable):
            return False
        except BadReply:
            pass
        return True

    async def _send(self, body: dict[str, Any], once: bool = False) -> Any:
        send = self._http.once if once else self._http.request
        return await send("POST", "chat/completions", body)

    async def _list(self) -> dict[str, dict[str, Any]]:
        return entries(await self._http.request("GET", "models", None, LIST))

    async def _identify(self) -> None:
        """Takes the model's name and digest from the server's list of models, where they were not given."""
        try:
            models = await self._list()
        except ModelError as error:
            if not self.name or not _has_no_list(error):
                raise
            models = {}
        if not self.name:
            if len(models) != 1:
                names = shorten(", ".join(models), 300) or "none"
                raise InputError(f"{self.url} serves {len(models)} models; name one with --model (it has: {names})")
            self.name = next(iter(models))
        if not self._told_digest:
            fields = known_by(models, self.name, self._http.date)
            self.digest, self.identified_by = digest_of(fields), tuple(fields)

    async def _check_weights(self) -> None:
        """Raises InputError if the server has come back with other weights under the same name.

        If the list can't be had now, nothing is known, and the next call checks again.
        """
        breaks = self._http.breaks
        if self.identified_by:
            try:
                fields = known_by(await self._list(), self.name, self._http.date)
            except ModelError as error:
                if not _has_no_list(error):
                    raise
                return
            if fields and digest_of(fields) != self.digest:
                raise InputError(
                    f"{self.url} has come back with other weights under the name {self.name}, as its list of models "
                    "says: serve the earlier ones again, or start anew; if they are the same, start with --digest"
                )
        self._checked_at = breaks

    def _compare_length(self, chat: Chat, usage: Usage) -> None:
        """Warns once if the server counts far fewer tokens than a prompt has: it cuts prompts silently."""
        length = sum(len(turn["content"]) for turn in chat)
        if length < LONG or self._cut_prompts:
            return
        tokens = usage.prompt_tokens
        if 0 < tokens * CHARACTERS < length:
            self._cut_prompts = True
            log.warning(
                "%s has read %s tokens of a prompt of %s characters: it cuts long prompts; give it a longer context "
                "(num_ctx, --max-model-len)",
                *(self.url, f"{tokens:,}", f"{length:,}"),
            )


def _has_no_list(error: ModelError) -> bool:
    """Whether the server has no list of models at all, as opposed to being unreachable just now."""
    if isinstance(error, Overloaded):
        return error.status in (500, 501)
    return not isinstance(error, Unreachable) or error.how == "no JSON"


def _value(completion: Completion, reply: Wanted[T]) -> tuple[T, str]:
    """The value of a completion, and the text it was made from. Raises ValueError if it is unusable."""
    text = completion.text
    if completion.stray:
        raise ValueError(f"the reply holds {completion.stray}, so it is not clear which part is the answer")
    if completion.ended == "filter" and not (text and is_text(reply)):
        raise ValueError("the server's content filter has ended the reply")
    if not text and not is_text(reply) and completion.reasoning.startswith("{"):
        text = completion.reasoning  # some servers mistake a whole JSON reply for reasoning
    elif not text and completion.ended != "stop":  # an empty reply counts only if the model chose to stop
        raise ValueError("the reply is empty")
    return parse(text, reply), text


def _timed(usage: Usage, began: float) -> Usage:
    return usage.model_copy(update={"seconds": time.monotonic() - began})
