"""How servers report failures, by a status, inside a 200 or in words, and which error each failure becomes.

Owns every wording. A failure that may pass becomes `Overloaded`, and http.py sends the request again. Every other one
is raised at once. Reads the server's text as it was sent, so the caller must hide the key before showing it. Knows no
connection.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ContextOverflow, ModelError, Overloaded, QuotaExceeded, Refused

Part = Literal[
    "max_tokens", "temperature", "seed", "schema", "system", "turns"
]  # the part of a request that a refusal is about

# The prompt is longer than the model can read. Wordings of OpenAI, vLLM, SGLang, TGI, Together, llama.cpp, Ollama,
# LM Studio, TensorRT-LLM, Groq, Mistral, Anthropic, Gemini, xAI, Cohere, Moonshot, DashScope and proxies.
OVERFLOW = re.compile(
    r"""context[ _-]?(?:length|size|window|limit) | exceed_context | reduce\ the\ length\ of\ the
    | (?:prompt|input|request)\b[^.]{0,60}\btoo\ (?:long|large)
    | (?:inputs?|prompt|requested?|sequence)\b[^.]{0,60}\b(?:length|tokens?|token\ count)\b[^.]{0,80}
      (?:longer\ than|greater\ than|exceeds?\b|exceeded\b|cannot\ exceed|should\ not\ exceed)
    | inputs`?\ (?:tokens\b[^.]{0,60}must\ be\ <=|must\ have\ less\ than) | range\ of\ input\ length
    | maximum\ (?:prompt|context|input)\ length | (?:too\ many|exceeded\ model)\ tokens?\b
    | request\ (?:entity\ )?too\ large""",
    re.I | re.X,
)
TOO_LARGE = re.compile(r"request (?:entity )?too large", re.I)
# The account has no money left. "You exceeded your current quota" alone is not enough: servers also say it of a limit
# that passes in a minute.
QUOTA = re.compile(
    r"insufficient[_ -](?:quota|credits?|balance|funds)|exceeded_current_quota|billing_(?:hard_)?limit"
    r"|(?:credit|account) balance is too low|out of credits|arrearage",
    re.I,
)
# The server does not accept a field at all. For a value out of range, servers use other words.
NOT_TAKEN = re.compile(r"support|unknown|unrecogni[sz]ed|unexpected|extra|not (?:allowed|permitted|accepted)", re.I)
SAMPLING: tuple[Part, ...] = ("temperature", "seed")
SCHEMA = re.compile(r"response_format|schema|grammar|structured|guided", re.I)
# The chat template accepts no system role (Gemma), or only alternating turns of user and assistant (Mistral).
SYSTEM = re.compile(
    r"(?:system|developer) (?:role|message|prompt|instruction)s?\b[^.]{0,40}\bnot (?:be )?(?:supported|allowed|enabled)"
    r"|role'? does not support '?system|support(?:s|ed)?\b[^.]{0,20} system (?:role|message|prompt)"
    r"|only user(?:,| and) (?:assistant|model)[^.]* roles?",
    re.I,
)
TURNS = re.compile(r"roles? must alternate|must alternate|alternating (?:roles|user)|roles in a row|consecutive", re.I)

# The status that an error inside a 200 would have had: by its code, or by its words if it has no code.
BY_WORDS = (
    (
        429,
        re.compile(r"rate[_ -]?limit|per[_ ]minute|throttl|too[_ ]many[_ ]req|overload|capacity|exhausted|busy", re.I),
    ),
    (401, re.compile(r"authenticat|unauthori[sz]ed|api[_ ]?key|credential", re.I)),
    (403, re.compile(r"permission|forbidden|access[_ ]denied", re.I)),
    (404, re.compile(r"not[_ ]?found", re.I)),
    (400, OVERFLOW),
)
BY_CODE = (*BY_WORDS, (429, re.compile(r"limit", re.I)), (400, re.compile(r"invalid|bad[_ ]?request|validation", re.I)))
# Servers' words for a reply that broke off, in lower case and without punctuation: there is half an answer, or none.
# Cohere's ERROR_LIMIT and ERROR_TOXIC are not among them (see completion.py).
BROKEN_OFF = re.compile(
    r"\w*error|abort\w*|\w*cancell?ed|\w*cancel|fail(?:ed|ure)|time(?:d)?out|\w*interrupted|\w*disconnect(?:ed)?"
    r"|insufficientsystemresource"
)


@dataclass(frozen=True)
class Failure:
    """One failure. `status` is HTTP's, or the fitting one for an error inside a 200. `words` and `codes` are raw."""

    status: int
    words: str
    codes: str = ""

    @property
    def said(self) -> str:
        return f"{self.codes} {self.words[:4000]}"


def passes(status: int) -> bool:
    """Whether the same request may succeed a little later."""
    return status in (408, 409, 425, 429) or status >= 500


def failure_in(status: int, body: Any) -> Failure | None:
    """The failure that a server's answer reports, or None if the answer is usable.

    `body` is parsed JSON, or the text if it is not JSON. A 200 is a failure too if it holds an error, or if its
    completion broke off: half an answer is no answer.
    """
    if isinstance(body, list) and len(body) == 1 and isinstance(body[0], dict) and body[0].get("error"):
        body = body[0]  # Gemini's form
    if status != 200:
        return Failure(status, _words(body), _codes(body))
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    for node in (body, choice):
        error = node.get("error")
        if any(error.values()) if isinstance(error, dict) else error:
            return _inside(error if isinstance(error, dict) else node)
    base = body.get("base_resp")  # MiniMax sends it in every answer
    if isinstance(base, dict) and base.get("status_code"):
        return _inside({"message": base.get("status_msg")})
    for name in ("finish_reason", "native_finish_reason"):
        if isinstance(finish := choice.get(name), str) and BROKEN_OFF.fullmatch(re.sub("[^a-z]", "", finish.lower())):
            return Failure(502, f"the reply broke off, {name} {finish}")
    says_error = "error" in (body.get("object"), body.get("type"))
    says_nothing_else = not body.keys() & {"choices", "data", "models"}
    if says_error or (says_nothing_else and body.keys() & {"detail", "message", "msg", "errors"}):
        return _inside(body)
    return None


def error_of(failure: Failure, url: str, words: str, wait: float = 0.0) -> ModelError:
    """The error to raise for a failure.

    `words` are the failure's words, safe to show. `wait` is how many seconds the server asks to wait. A request that
    got Overloaded is sent again; every other error is final.
    """
    status, message = failure.status, f"{url} answered {failure.status}: {words}"
    if status == 402 or QUOTA.search(failure.said):
        return QuotaExceeded(f"{message}. The account has nothing left to spend", status, words)
    if status == 413 or TOO_LARGE.search(failure.said):
        return ContextOverflow(message, status, words)
    if status in (400, 422, 500) and OVERFLOW.search(failure.said):
        return ContextOverflow(message, status, words)
    about = _about(failure.said)
    if passes(status) and not (status == 500 and about & {"system", "turns"}):  # llama.cpp: 500 if the template refuses
        return Overloaded(message, status, wait)
    if status in (401, 403):
        message += ". Set MATRIX_ALIGN_API_KEY (or OPENAI_API_KEY) to this server's key"
    if status == 404:
        message += ". Check the address and the model's name"
    return Refused(message, status, words, about)


def rejected_reply(body: Any) -> dict[str, Any] | None:
    """The completion inside a server's refusal of what the model wrote.

    Groq checks the JSON itself, and sends the text with its 400.
    """
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or error.get("code") != "json_validate_failed":
        return None
    cut = "max" in _words(error) and "tokens" in _words(error)
    message = {"role": "assistant", "content": error.get("failed_generation") or ""}
    return {"choices": [{"index": 0, "finish_reason": "length" if cut else "stop", "message": message}]}


def _about(said: str) -> frozenset[Part]:
    """Which parts of the request a refusal is about."""
    parts: set[Part] = set()
    if "max_completion_tokens" in said:
        parts.add("max_tokens")
    if NOT_TAKEN.search(said):
        parts.update(name for name in SAMPLING if re.search(rf"\b{name}\b", said))
    if SCHEMA.search(said):
        parts.add("schema")
    if SYSTEM.search(said):
        parts.add("system")
    if TURNS.search(said):
        parts.add("turns")
    return frozenset(parts)


def _inside(error: dict[str, Any]) -> Failure:
    """The failure that an error inside a 200 reports: by its number, code or words; otherwise one that may pass."""
    codes, words = _codes(error), _words(error)
    if number := re.search(r"\b[45]\d\d\b", codes):
        return Failure(int(number[0]), words, codes)
    for status, wording in BY_CODE:
        if wording.search(codes):
            return Failure(status, words, codes)
    for status, wording in BY_WORDS:
        if wording.search(words):
            return Failure(status, words, codes)
    return Failure(502, words, codes)


def _codes(body: Any) -> str:
    """The codes of an error, whichever fields they are in."""
    error = body.get("error") if isinstance(body, dict) else None
    nodes = [node for node in (body, error) if isinstance(node, dict)]
    fields = [node.get(name) for node in nodes for name in ("code", "status", "status_code", "type")]
    return " ".join(str(field) for field in fields if isinstance(field, int | str))


def _words(body: Any) -> str:
    """The server's own words in an error of any form, without what it repeats of the request."""
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "; ".join(map(_words, body))
    if isinstance(body, dict):
        if isinstance(where := body.get("loc"), list) and isinstance(body.get("msg"), str):  # FastAPI's form
            return f"{'.'.join(map(str, where))}: {body['msg']}"
        for name in ("error", "message", "detail", "msg", "errors"):
            if body.get(name):
                upstream = body.get("metadata")  # OpenRouter's: the words of the provider behind it
                raw = upstream.get("raw") if isinstance(upstream, dict) else None
                return _words(body[name]) + (f": {raw}" if isinstance(raw, str) else "")
    return json.dumps(body)
