"""The model behind an OpenAI-compatible server.

Owns what the endpoint asks a server, when it opens and for a completion. Knows no HTTP (http.py), no request format
(dialect.py), and not when a reply is asked for again (asker.py). Knows nothing of scenes or the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from ..errors import BadReply, ContextOverflow, InputError, ModelError, Overloaded, Refused, Unreachable
from ..types import Sampling, Usage, shorten
from .asker import Asker
from .completion import Completion, completion_of
from .dialect import Chat, log
from .http import Connection, Hear
from .identity import digest_of, entries, is_listed, known_by
from .masked import Masked
from .stream import STREAMED
from .structured import Wanted

if TYPE_CHECKING:
    import aiohttp

    from .writing import Writing

LIST = 30.0  # seconds a server may take to list its models; no model runs for that
LONG = 4000  # characters; only for longer prompts is the token count compared with the length
SECRET = 16  # characters; a shorter key may be a word of an answer
CHARACTERS = 12  # most characters a token stands for; real tokens stand for about 4, fewer outside English


class Endpoint(Asker):
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
        super().__init__(model or "", digest or "", self._http.url)
        self.source = ""  # where weights that are served here were fetched
        self.identified_by: tuple[str, ...] = ()  # fields of the server's list that the digest is made of
        self.others: tuple[str, ...] = ()  # what the server lists, if it does not list this model
        self.hides = False  # it shows this key no list of its models, and answers it all the same
        self._told_digest = digest is not None
        self._checked_at = 0  # the connection's count of breaks when the weights were last checked
        self._reasons = False  # its texts begin with their reasoning
        self._cut_prompts = False  # the warning was given

    @property
    def url(self) -> str:
        return self._http.url

    @property
    def id(self) -> str:
        """What every request of ours carries in the header VIA."""
        return self._http.id

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

    async def _complete(
        self, chat: Chat, reply: Wanted[Any], sampling: Sampling, room: int, turn: int, writing: Writing | None
    ) -> Completion:
        """The server's completion of one chat. Gives up, one by one, the parts of the request it does not accept."""
        dialect = self._dialect
        form = dialect.form(reply)
        while True:
            request = {"model": self.name, **dialect.request(chat, reply, form, sampling, room, turn)}
            hear = partial(writing.read, wanted=reply, reasons=self._reasons) if writing else None
            try:
                body = await self._send(request, hear=hear)
            except ContextOverflow:
                raise
            except Refused as refusal:
                form = dialect.refused(refusal, chat, reply, form)
                if request == {"model": self.name, **dialect.request(chat, reply, form, sampling, room, turn)}:
                    if not writing or not refusal.mendable:
                        raise
                    writing = None  # the server may take the same request, only not in pieces
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
            self._reasons = self._reasons or completion.inline
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

    def as_it_comes(
        self, data: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The server's response to a chat completion that somebody else has written, unread. It is sent once.

        Raises Unreachable.
        """
        return self._http.as_it_comes("chat/completions", data, headers)

    def masked(self, failed: bool) -> Masked:
        """Takes our key out of a response that is passed on. `failed` says that it is an error.

        A short key stays in any other response: servers that need none get a word like "none", and answers have such
        words too.
        """
        key = self._http.key or ""
        return Masked(key if failed or len(key) >= SECRET else None)

    async def listed(self) -> dict[str, dict[str, Any]]:
        """The server's list of models: what it says of each, by name."""
        return entries(await self._http.request("GET", "models", None, LIST))

    async def _send(self, body: dict[str, Any], once: bool = False, hear: Hear | None = None) -> Any:
        """The server's answer. `hear` is given the text so far while the server writes it."""
        send = self._http.once if once else self._http.request
        return await send("POST", "chat/completions", {**body, **STREAMED} if hear else body, hear=hear)

    async def _identify(self) -> None:
        """Takes the model's name and digest from the server's list of models, where they were not given."""
        try:
            models = await self.listed()
        except ModelError as error:
            if not self.name or not has_no_list(error):
                raise
            if isinstance(error, Refused) and error.status in (401, 403):  # some keys are for chats only
                if await self.answers() is None:
                    raise
                self.hides = True
            models = {}
        if not self.name:
            if len(models) != 1:
                names = shorten(", ".join(models), 300) or "none"
                raise InputError(f"{self.url} serves {len(models)} models; name one with --model (it has: {names})")
            self.name = next(iter(models))
        self.others = () if is_listed(models, self.name) else tuple(models)
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
                fields = known_by(await self.listed(), self.name, self._http.date)
            except ModelError as error:
                if not has_no_list(error):
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


def has_no_list(error: ModelError) -> bool:
    """Whether the server has no list of models at all, as opposed to being unreachable just now."""
    if isinstance(error, Overloaded):
        return error.status in (500, 501)
    return not isinstance(error, Unreachable) or error.how == "no JSON"
