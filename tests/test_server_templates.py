"""Servers whose chat template accepts no system role, or only alternating turns of user and assistant."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from matrix_align.errors import Refused
from matrix_align.llm.endpoint import Endpoint
from matrix_align.types import Message

from .asking import PICK, SAMPLING, Pick
from .fake import FakeServer, error

SYSTEM = Message(role="system", content="Be kind.")
QUESTION = Message(role="user", content="Which colour?")
ANSWER = Message(role="assistant", content="Blue.")
AGAIN = Message(role="user", content="Why?")

# Who says it: the status and the words.
NO_SYSTEM = {
    "Gemma": (400, "System role not supported"),
    "Gemma in llama.cpp": (500, "Jinja Exception: System role not supported"),
    "Google": (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
    "old Mistral": (400, "Only user and assistant roles are supported!"),
    "o1": (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    "in words": (422, "This model does not support system messages"),
}
NO_NEIGHBOURS = {
    "Mistral": (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
    "Mistral v3": (400, "After the optional system message, conversation roles must alternate user/assistant"),
    "llama.cpp": (500, "Jinja Exception: Conversation roles must alternate user/assistant/user/assistant/..."),
    "Anthropic": (
        400,
        'messages: roles must alternate between "user" and "assistant", but found multiple "user" roles',
    ),
}


def roles(body: dict[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


def alternate(asked: list[str]) -> bool:
    return all(one != other for one, other in pairwise(asked))


def takes(server: FakeServer, wanted: Any, status: int, words: str) -> None:
    """Makes the server refuse every chat whose roles don't match `wanted`."""
    answer = lambda body: "It is calm." if wanted(roles(body)) else error(status, words)  # noqa: E731
    server.on["text"] = answer
    server.on["Pick"] = lambda body: PICK if wanted(roles(body)) else error(status, words)


async def asked(server: FakeServer, model: Endpoint, *chat: Message, reply: type[Any] = str) -> list[tuple[str, str]]:
    """The turns that the server accepted in the end, for this chat."""
    await model.ask(chat, reply, SAMPLING)
    return [(message["role"], message["content"]) for message in server.requests[-1]["messages"]]


@pytest.mark.parametrize("who", NO_SYSTEM)
async def test_system_role_goes_into_the_first_user_turn(
    server: FakeServer, model: Endpoint, caplog: pytest.LogCaptureFixture, who: str
) -> None:
    """It is found out once, remembered for every later chat, and reported once."""
    takes(server, lambda asked: "system" not in asked, *NO_SYSTEM[who])
    merged = [("user", "Be kind.\n\nWhich colour?"), ("assistant", "Blue."), ("user", "Why?")]
    assert await asked(server, model, SYSTEM, QUESTION, ANSWER, AGAIN) == merged
    assert await asked(server, model, SYSTEM, QUESTION, reply=Pick) == merged[:1]
    assert await asked(server, model, QUESTION) == [("user", "Which colour?")]
    assert len(server.requests) == 4, "one refusal"
    assert ["no system role" in message for message in caplog.messages] == [True]


async def test_system_role_before_an_answer_is_a_turn_of_its_own(server: FakeServer, model: Endpoint) -> None:
    takes(server, lambda asked: "system" not in asked, *NO_SYSTEM["Gemma"])
    assert await asked(server, model, SYSTEM, ANSWER, AGAIN) == [
        ("user", "Be kind."),
        ("assistant", "Blue."),
        ("user", "Why?"),
    ]


@pytest.mark.parametrize("who", NO_NEIGHBOURS)
async def test_neighbours_of_one_role_are_joined(
    server: FakeServer, model: Endpoint, caplog: pytest.LogCaptureFixture, who: str
) -> None:
    """The system role stays, if that is enough."""
    takes(server, alternate, *NO_NEIGHBOURS[who])
    chat = (SYSTEM, QUESTION, AGAIN, ANSWER, ANSWER, AGAIN)
    assert await asked(server, model, *chat) == [
        ("system", "Be kind."),
        ("user", "Which colour?\n\nWhy?"),
        ("assistant", "Blue.\n\nBlue."),
        ("user", "Why?"),
    ]
    await asked(server, model, *chat)
    assert len(server.requests) == 3
    assert ["no two turns of one role" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("neighbours", [(), (AGAIN,)])
async def test_alternation_that_counts_the_system_role(
    server: FakeServer, model: Endpoint, neighbours: tuple[Message, ...]
) -> None:
    """Old Mistral templates also report a system role as turns that don't alternate."""
    takes(server, lambda asked: asked[0] == "user" and alternate(asked), *NO_NEIGHBOURS["Mistral"])
    [turn] = await asked(server, model, SYSTEM, QUESTION, *neighbours)
    assert turn[1].startswith("Be kind.\n\nWhich colour?")


async def test_chat_that_can_not_be_merged_is_refused(server: FakeServer, model: Endpoint) -> None:
    """Merging ends: if it changes nothing more, the server's words are raised."""
    server.on["text"] = lambda _: error(400, "Conversation roles must alternate user/assistant")
    with pytest.raises(Refused, match="must alternate"):
        await model.ask([SYSTEM, QUESTION, AGAIN], str, SAMPLING)
    assert len(server.requests) == 3


async def test_crash_that_names_no_role_is_no_template(server: FakeServer, model: Endpoint, waits: Any) -> None:
    """A 500 is retried unless a template caused it."""
    server.faults = [lambda _: web.json_response({"error": {"message": "system out of memory"}}, status=500)]
    assert await asked(server, model, SYSTEM, QUESTION) == [("system", "Be kind."), ("user", "Which colour?")]
