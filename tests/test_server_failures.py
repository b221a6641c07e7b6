"""How servers report failures, and what each becomes: a retry, an error, or an unusable reply."""

from __future__ import annotations

import asyncio
import json
import socket
from email.utils import formatdate
from time import time
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from matrix_align.errors import BadReply, ContextOverflow, ModelError, Overloaded, QuotaExceeded, Refused, Unreachable
from matrix_align.llm.endpoint import Endpoint
from matrix_align.llm.failures import error_of, failure_in, rejected_reply

from .asking import PICK, SAID_BLUE, Ask, Waits, fault, pick, say, sent, turns
from .fake import FakeServer, drop, drop_mid_body, error, garble_mid_body

# What servers say
AFTER = [("7", 7, 7), ("2.5", 2.5, 2.5), ("date", 20, 50), ("86400", 60, 60)]  # nobody waits for a day
NOT_AFTER = ["Thu, 01 Jan 1970 00:00:00 GMT", "-5", "nan", "soon", "Mon, 99 Jan 2020"]
NO = "no such thing"
BUSY = [408, 409, 425, 429, 500, 501, 502, 503, 505, 507, 529, 599]
BROKEN: list[tuple[Any, type[ModelError]]] = [(sent(status, "warming up"), Overloaded) for status in BUSY]
BROKEN += [(drop, Unreachable), (drop_mid_body, Unreachable), (garble_mid_body, Unreachable)]
BROKEN += [(sent(200, "not gzip", **{"Content-Encoding": "gzip"}), Unreachable)]
BROKEN += [(sent(200, "<html>Bad gateway"), Unreachable), (sent(200, '{"choices": [{"mess'), Unreachable)]


@pytest.mark.parametrize(("broken", "kind"), BROKEN)
async def test_broken_answer_is_asked_for_again(
    server: FakeServer, model: Endpoint, waits: Waits, broken: Any, kind: type[ModelError]
) -> None:
    server.faults = [broken] * 2
    assert await say(model) == "It depends. Ask first."
    assert len(server.requests) == 3
    assert 0 < waits[0] < waits[1], "it backs off"
    server.faults = [broken] * 3
    told = str(await fault(kind, server.url, attempts=3))
    assert len(server.requests) == 6
    assert len(waits) == 4, "nothing is waited for after the last attempt"
    assert kind is not Overloaded or "warming up" in told


@pytest.mark.parametrize(("header", "least", "most"), AFTER + [(each, 0, 1) for each in NOT_AFTER])
async def test_retry_after(
    server: FakeServer, model: Endpoint, waits: Waits, header: str, least: float, most: float
) -> None:
    wanted = formatdate(time() + 50, usegmt=True) if header == "date" else header
    server.faults = [lambda _: error(429, "slow down", **{"Retry-After": wanted})]
    await say(model)
    assert len(waits) == 1
    assert least <= waits[0] <= most


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("ask", [say, pick])
async def test_no_is_final_and_said_in_the_servers_words(server: FakeServer, status: int, ask: Ask) -> None:
    server.faults = [lambda _: error(status, "not you,\nnot today")]
    assert f"{status}: not you, not today" in str(await fault(Refused, server.url, ask, attempts=3))
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_server_that_has_moved_says_where_to(server: FakeServer, status: int) -> None:
    """We follow no redirect, because we carry a key."""
    server.faults = [sent(status, "", Location="https://there/v1/chat/completions")]
    told = str(await fault(Refused, server.url, attempts=3))
    assert "moved to https://there/v1/chat/completions; give the address of that server" in told
    assert len(server.requests) == 1


SAID = [{"error": {"message": NO, "type": "t"}}, {"error": NO}, {"message": NO, "code": 1}, {"detail": [{"msg": NO}]}]


@pytest.mark.parametrize("body", [NO, *map(json.dumps, [*SAID, {"error": None, "message": NO}])])
async def test_the_servers_words_are_found(server: FakeServer, body: str) -> None:
    server.on["text"] = lambda _: web.Response(status=400, text=body)
    told = str(await fault(Refused, server.url))
    assert NO in told
    assert "null" not in told


async def test_nobody_there(waits: Waits) -> None:
    told = str(await fault(Unreachable, "http://127.0.0.1:1/v1", attempts=2))
    assert told == "http://127.0.0.1:1/v1 can't be reached: connection refused; is a server running there?"
    assert len(waits) == 1


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(2000):
        await asyncio.sleep(0.03)
        await response.write(b" ")
    return response


@pytest.mark.parametrize("slow", [lambda _: asyncio.sleep(60), drip])
async def test_slow_server(server: FakeServer, waits: Waits, slow: Any) -> None:
    """An occasional byte is no sign of life: the time-out is for the whole reply."""
    server.faults = [slow] * 2
    assert "within 0.3 s" in str(await fault(Unreachable, server.url, attempts=2, read=0.3))
    assert len(server.requests) == 2


async def test_connect_timeout_is_told_as_what_it_is() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for queued in (first, second):  # nobody accepts: further connections are left waiting
            queued.setblocking(False)
            queued.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        assert "within 77 s" not in str(await fault(Unreachable, url, connect=0.2, read=77))


CODE = "context_length_exceeded"
# Who says it: the status and the words.
OVERFLOWS: dict[str, tuple[int, str]] = {
    "llama.cpp": (400, "request (6031 tokens) exceeds the available context size (4096 tokens), try increasing it"),
    "llama.cpp before": (500, "the request exceeds the available context size. try increasing the context size"),
    "llama-cpp-python": (400, "Requested tokens (5000) exceed context window of 4096"),
    "vLLM before": (400, "This model's maximum context length is 4096 tokens. However, you requested 6543 tokens"),
    "vLLM": (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that "),
    "vLLM too": (
        400,
        "You passed 6031 input tokens. However, the model's context length is only 4096 tokens ",
    ),
    "OpenAI": (
        400,
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001",
    ),
    "OpenAI now": (400, "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000"),
    "OpenAI, a minute's tokens": (
        429,
        "Request too large for gpt-4o in organization o on tokens per min: Limit 9",
    ),
    "Groq": (413, "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 7500"),
    "Groq too": (400, "Please reduce the length of the messages or completion."),
    "SGLang": (400, "The input (61709 tokens) is longer than the model's context length (40960 tokens)."),
    "SGLang too": (400, "Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens)."),
    "SGLang, both": (400, "Requested token count exceeds the model's maximum context length of 32768 tokens."),
    "TGI, Together": (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1244"),
    "TGI too": (422, "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500"),
    "Ollama": (400, "the input length exceeds the context length"),
    "LM Studio": (
        400,
        "Trying to keep the first 15857 tokens when context the overflows. However, the model is loaded "
        "with context length of only 8192 tokens, which is not enough.",
    ),
    "Mistral": (400, "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context"),
    "Anthropic": (400, "prompt is too long: 201234 tokens > 200000 maximum"),
    "Anthropic, both": (400, "input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000"),
    "Bedrock": (400, "Input is too long for requested model."),
    "Gemini": (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
    "xAI": (400, "This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
    "Cohere": (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081"),
    "Moonshot": (400, "Invalid request: Your request exceeded model token limit: 8192"),
    "DashScope": (400, "Range of input length should be [1, 30720]"),
    "TensorRT-LLM": (400, "Prompt length (5000) exceeds maximum input length (4096)"),
    "TabbyAPI": (400, "Prompt length 5000 is greater than max_seq_len 4096"),
    "a proxy": (413, "<html><title>413 Request Entity Too Large</title>"),
}


@pytest.mark.parametrize("who", OVERFLOWS)
async def test_context_overflow(server: FakeServer, who: str) -> None:
    status, words = OVERFLOWS[who]
    server.on["text"] = server.on["Pick"] = lambda _: error(status, words)
    for ask in (say, pick):
        await fault(ContextOverflow, server.url, ask, attempts=3)
    assert len(server.requests) == 2


FORMS_OF_ERRORS: list[Any] = [
    {"error": {"code": 400, "message": "too big", "type": "exceed_context_size_error"}},
    {"object": "error", "message": "Prompt is too long", "type": "BadRequestError", "code": 400},
    {"error": {"message": "too big", "type": "invalid_request_error", "code": CODE}},
    {"error": "the input length exceeds the context length"},
    {"detail": [{"loc": ["body", "messages"], "msg": "prompt is too long", "input": {"seed": 1}}]},
    [{"error": {"code": 400, "message": "The input token count exceeds the maximum", "status": "INVALID_ARGUMENT"}}],
    {"error": {"code": 400, "message": "Provider returned error", "metadata": {"raw": "prompt is too long: 9 > 8"}}},
]


@pytest.mark.parametrize("body", FORMS_OF_ERRORS)
@pytest.mark.parametrize("status", [400, 200])
async def test_overflow_in_every_form_of_error(server: FakeServer, body: Any, status: int) -> None:
    """This includes one inside a 200 that only its code or its words identify."""
    server.on["text"] = lambda _: web.json_response(body, status=status)
    await fault(ContextOverflow, server.url)


NO_OVERFLOWS = [
    (400, "Input validation error: `temperature` must be strictly positive"),
    (400, "Input validation error: `top_p` must be > 0.0 and < 1.0"),
    (422, "max_tokens must be <= 4096"),
    (400, "The model `long-context` does not exist"),
    (400, "Your prompt was flagged by our content policy"),
]


@pytest.mark.parametrize(("status", "words"), NO_OVERFLOWS)
async def test_other_refusals_are_no_overflow(server: FakeServer, status: int, words: str) -> None:
    server.on["text"] = lambda _: error(status, words)
    await fault(Refused, server.url)


async def test_what_a_server_repeats_of_the_request_is_not_its_words(server: FakeServer) -> None:
    """FastAPI repeats the request, which may hold the words of any failure, as our questions may."""
    repeated = {"messages": "system role not supported, insufficient_quota, prompt is too long", "max_tokens": 5}
    detail = [{"type": "missing", "loc": ["body", "tools"], "msg": "Field required", "input": repeated}]
    server.on["text"] = lambda _: web.json_response({"detail": detail}, status=422)
    told = await fault(Refused, server.url)
    assert "body.tools: Field required" in str(told)
    assert "system role" not in str(told)


# Errors inside a 200: the body, and what it is.
RATE = {"message": "Rate limit", "code": 429}
HALF = {"role": "assistant", "content": "Half an ans"}
BROKE_OFF = ["error", "ERROR", "Error", "server_error", "network_error", "abort", "Aborted", "cancelled", "canceled"]
BROKE_OFF += ["USER_CANCEL", "failed", "TIMEOUT", "timed_out", "interrupted", "insufficient_system_resource"]
INSIDE: list[tuple[Any, type[ModelError]]] = [
    ({"error": RATE}, Overloaded),
    ({"error": {"message": "busy", "code": "429"}}, Overloaded),
    ({"error": {"message": "Too fast", "code": "rate_limit_exceeded"}}, Overloaded),
    ({"error": {"message": "Overloaded", "type": "overloaded_error"}}, Overloaded),
    ({"error": "upstream failed"}, Overloaded),
    ({"error": {"message": "Provider returned error"}}, Overloaded),
    ({"object": "error", "message": "engine is dead", "type": "InternalServerError", "code": 500}, Overloaded),
    ({"type": "error", "error": {"type": "api_error", "message": "Internal"}}, Overloaded),
    ({"detail": "Internal error"}, Overloaded),
    ({"message": "Throttling", "code": "Throttling"}, Overloaded),
    ({"error": RATE, "choices": [{"finish_reason": "stop", "message": HALF}]}, Overloaded),
    ({"choices": [{"error": RATE, "message": HALF, "finish_reason": "stop"}]}, Overloaded),
    ({"choices": [{"error": "gone", "message": HALF}]}, Overloaded),
    *(({"choices": [{"finish_reason": word, "message": HALF}]}, Overloaded) for word in BROKE_OFF),
    ({"choices": [{"finish_reason": "stop", "native_finish_reason": "ERROR", "message": HALF}]}, Overloaded),
    ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}, "choices": None}, Overloaded),
    ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None}, QuotaExceeded),
    ({"error": {"message": "No key", "code": 401}}, Refused),
    ({"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}, Refused),
    ({"detail": "Not Found"}, Refused),
    ({"error": {"message": "no temperature", "code": 400}}, Refused),
    ({"error": {"message": "No credits", "code": 402}}, QuotaExceeded),
    ({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, QuotaExceeded),
]


@pytest.mark.parametrize(("body", "kind"), INSIDE)
async def test_error_inside_a_200(
    server: FakeServer, waits: Waits, body: dict[str, Any], kind: type[ModelError]
) -> None:
    """It counts as it would have with its status: retried, or final. Its words are shown, and its text is not used."""
    server.on["text"] = lambda _: web.json_response(body)
    told = await fault(kind, server.url, attempts=3)
    assert len(server.requests) == (3 if kind is Overloaded else 1)
    error = body.get("error") or body.get("base_resp") or (body.get("choices") or [body])[0].get("error") or body
    said = ("message", "detail", "status_msg")
    words = error if isinstance(error, str) else next(filter(None, map(error.get, said)), "broke off")
    assert words in str(told)
    assert "Half an ans" not in str(told) + told.reply


async def test_error_inside_a_200_that_passes(server: FakeServer, model: Endpoint, waits: Waits) -> None:
    server.faults = [lambda _: web.json_response({"error": RATE}, headers={"Retry-After": "7"})]
    assert await say(model) == "It depends. Ask first."
    assert waits == [7.0], "with the wait that the server asks for"
    assert model.pushed_back == 1


NO_ERRORS = [{"error": None}, {"error": ""}, {"error": {}}, {"error": {"code": None, "message": ""}}, {"detail": None}]
NO_ERRORS += [{"base_resp": {"status_code": 0, "status_msg": "success"}}]


@pytest.mark.parametrize("beside", NO_ERRORS)
async def test_empty_error_is_none(server: FakeServer, beside: dict[str, Any]) -> None:
    server.on["text"] = lambda _: web.json_response({**SAID_BLUE, **beside})
    async with Endpoint(server.url, "m", attempts=1) as model:
        assert await say(model) == "Blue."


QUOTAS = [
    (429, {"message": "You exceeded your current quota, please check your plan", "code": "insufficient_quota"}),
    (402, {"message": "Payment required"}),
    (402, {"message": "Insufficient Balance", "code": "invalid_request_error"}),
    (400, {"message": "Your credit balance is too low to access the API", "type": "invalid_request_error"}),
    (429, {"message": "Your account is suspended, insufficient balance", "type": "exceeded_current_quota_error"}),
    (403, {"message": "Insufficient credits. Add more", "code": 403}),
]


@pytest.mark.parametrize(("status", "error"), QUOTAS)
async def test_nothing_left_to_spend_is_not_asked_again(server: FakeServer, status: int, error: dict[str, Any]) -> None:
    server.on["text"] = lambda _: web.json_response({"error": error}, status=status)
    told = await fault(QuotaExceeded, server.url, attempts=5)
    assert isinstance(told, Refused) and not told.mendable
    assert len(server.requests) == 1


async def test_quota_of_a_minute_is_asked_again(server: FakeServer, model: Endpoint, waits: Waits) -> None:
    """Gemini reports a limit that passes in the words that OpenAI uses for an empty account.

    The code distinguishes them.
    """
    words = {"message": "You exceeded your current quota, please check your plan", "status": "RESOURCE_EXHAUSTED"}
    server.faults = [lambda _: web.json_response({"error": words}, status=429)]
    assert await say(model)


def groq(text: str, message: str = "Failed to generate JSON. Please adjust your prompt.") -> web.Response:
    body = {"message": message, "type": "invalid_request_error", "code": "json_validate_failed"}
    return web.json_response({"error": {**body, "failed_generation": text}}, status=400)


async def test_reply_that_the_server_finds_to_be_no_json_is_asked_for_again(
    server: FakeServer, model: Endpoint
) -> None:
    """Groq checks the reply itself, and rejects its own model's. That does not reject our request."""
    server.on["Pick"] = turns(groq('{"colour": "gre'), PICK)
    assert (await pick(model)).colour == "blue"
    assert '{"colour": "gre' in server.requests[1]["messages"][1]["content"], "the model is shown what it wrote"
    assert ["response_format" in body for body in server.requests] == [True, True], "and the schema stays"


async def test_reply_that_is_never_json_is_a_bad_reply(server: FakeServer) -> None:
    server.on["Pick"] = lambda _: groq('{"colour": "gre')
    assert (await fault(BadReply, server.url, pick)).reply == '{"colour": "gre'
    assert len(server.requests) == 3


async def test_reply_that_the_server_cut_before_it_was_json_gets_more_room(server: FakeServer, model: Endpoint) -> None:
    server.on["Pick"] = turns(groq("", "max completion tokens reached before generating a valid document"), PICK)
    assert (await pick(model)).colour == "blue"
    first, second = server.requests
    assert second["max_tokens"] > first["max_tokens"]


FIELDS = ["error", "choices", "message", "detail", "code", "type", "object", "finish_reason", "metadata", "loc", "msg"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["error", "429", "insufficient_quota"]) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
)


@given(st.integers(100, 599), ANYTHING)
def test_every_answer_is_a_failure_with_a_name_or_none(status: int, body: Any) -> None:
    """Servers send anything. Every answer that is not a 200 is a failure, and each failure has its error."""
    found = failure_in(status, body)
    assert found or status == 200
    if found:
        raised = error_of(found, "http://a/v1", "no")
        assert isinstance(raised, Overloaded | Refused)
        assert "http://a/v1 answered" in str(raised)
    rejected_reply(body)
