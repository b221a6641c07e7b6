"""The form of the requests to one server, and what the server has shown that it does not accept.

Owns the ways to ask for a typed reply: by a schema, by a plainer schema, or in words. Tracks which of them have failed
for each reply type. Logs each thing it learns once, as a warning of the logger `matrix_align`. Knows no HTTP.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from ..errors import Refused
from ..types import Sampling, shorten
from .schema import instruction, plain_schema_of, schema_of
from .structured import Wanted, class_of, is_text

ENOUGH = 2  # a reply type gives up a form after this many failures, if they outnumber its replies
FORMS = ("schema", "plain schema", "words")
INSTEAD = {"schema": "by a schema without lengths", "plain schema": "in words"}
BROKEN = (500, 501, 502)  # statuses of servers that can't build the grammar for a schema

Chat = list[dict[str, Any]]
log = logging.getLogger("matrix_align")


class Dialect:
    """What is known about the server at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._room = "max_tokens"  # or max_completion_tokens
        self._left_out: set[str] = set()
        self._merges: set[str] = set()  # "turns": adjacent turns of one role; "system": into the first user turn
        self._replies: Counter[tuple[str, str]] = Counter()  # by (form, reply type): JSON came
        self._failures: Counter[tuple[str, str]] = Counter()  # it was refused, broke the server, or was ignored

    def form(self, reply: Wanted[Any]) -> str:
        """The form in which to ask for a reply of this type now."""
        if is_text(reply):
            return "text"
        return next(form for form in FORMS if not self._given_up(form, reply)) if self._failures else FORMS[0]

    def request(
        self, chat: Chat, reply: Wanted[Any], form: str, sampling: Sampling, room: int, turn: int
    ) -> dict[str, Any]:
        """The body of one request, without the model's name."""
        body: dict[str, Any] = {"messages": self._merged(chat), self._room: room}
        body["temperature"] = sampling.temperature
        body["seed"] = (sampling.seed + turn) % 2**31
        if form == "words":
            *before, last = body["messages"]
            body["messages"] = [*before, {**last, "content": f"{last['content']}\n\n{instruction(reply)}"}]
        elif form != "text":
            schema = schema_of(reply) if form == "schema" else plain_schema_of(reply)
            shape = {"name": class_of(reply).__name__, "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return {name: value for name, value in body.items() if name not in self._left_out}

    def refused(self, refusal: Refused, chat: Chat, reply: Wanted[Any], form: str) -> str:
        """Learns from a refusal. Returns the form to ask in next.

        If it learned nothing, the next request would be the same.
        """
        if not refusal.mendable:
            return form
        if "max_tokens" in refusal.about and self._room == "max_tokens":
            self._room = "max_completion_tokens"
        elif fields := {"temperature", "seed"} & refusal.about - self._left_out:
            self._left_out |= fields
            log.warning("%s accepts no %s; requests leave it out", self._url, " and no ".join(sorted(fields)))
        elif refusal.about & {"turns", "system"}:
            self._merge(chat, refusal.about)
        elif "schema" in refusal.about and form in INSTEAD:
            self._failed(
                [form], reply, f"refuses the schema of {class_of(reply).__name__} ({shorten(refusal.words, 160)})"
            )
            return FORMS[FORMS.index(form) + 1]
        return form

    def may_break(self, status: int, reply: Wanted[Any], form: str) -> bool:
        """Whether the schema may be what breaks the server: it has never answered one of this type."""
        return form in INSTEAD and status in BROKEN and not self._replies[form, class_of(reply).__name__]

    def broke(self, status: int, reply: Wanted[Any]) -> str:
        """Learns that only requests with the schema get this status. Returns the form to ask in next."""
        self._failed(
            list(INSTEAD),
            reply,
            f"answers {status} to the schema of {class_of(reply).__name__}, but not to plain calls",
        )
        return "words"

    def answered(self, text: str, reply: Wanted[Any], form: str) -> None:
        """Learns from an answer whether the server heeded the schema. A text without a brace is no attempt at JSON.

        `text` excludes the reasoning: a model that was cut while it reasoned has not ignored the schema.
        """
        if form not in INSTEAD:
            return
        if "{" in text:
            self._replies[form, class_of(reply).__name__] += 1
        elif text:
            self._failed(list(INSTEAD), reply, f"ignores the schema of {class_of(reply).__name__}")

    def _failed(self, forms: list[str], reply: Wanted[Any], what: str) -> None:
        before = self.form(reply)
        self._failures.update((form, class_of(reply).__name__) for form in forms)
        if self.form(reply) != before:
            log.warning("%s %s; from now on, that reply is asked for %s", self._url, what, INSTEAD[forms[-1]])

    def _given_up(self, form: str, reply: Wanted[Any]) -> bool:
        failures = self._failures[form, class_of(reply).__name__]
        return form in INSTEAD and failures >= ENOUGH and failures > self._replies[form, class_of(reply).__name__]

    def _merge(self, chat: Chat, about: frozenset[str]) -> None:
        """Merges turns until this chat changes. Merges turns of one role first, since that changes the least."""
        before = self._merged(chat)
        for part in ("turns", "system") if "turns" in about else ("system",):
            if part not in self._merges:
                self._merges.add(part)
                if self._merged(chat) != before:
                    what = "no two turns of one role" if part == "turns" else "no system role"
                    log.warning("%s accepts %s; they are merged into one user turn", self._url, what)
                    return

    def _merged(self, chat: Chat) -> Chat:
        turns = list(chat)
        if "system" in self._merges and turns[0]["role"] == "system":
            first = turns.pop(0)["content"]
            if turns and turns[0]["role"] == "user":
                first = f"{first}\n\n{turns.pop(0)['content']}"
            turns.insert(0, {"role": "user", "content": first})
        return _joined(turns) if "turns" in self._merges else turns


def _joined(chat: Chat) -> Chat:
    """The chat with adjacent turns of one role joined."""
    turns: Chat = []
    for turn in chat:
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1] = {**turn, "content": f"{turns[-1]['content']}\n\n{turn['content']}"}
        else:
            turns.append(turn)
    return turns
