"""`simulate: auto`: what one cheap call lets through to the model alone."""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from matrix_align.web.gateway import opening
from matrix_align.web.gateway.completions import GONE

from .fake import completion, drop_mid_body, error
from .gateway import Served, post, until

QUESTIONS = Path(__file__).parent.parent / "benchmarks" / "triage.jsonl"


def asked(question: str) -> dict[str, Any]:
    own = {"simulate": "auto", "roles": 2, "steps": 1}
    return {"model": "matrix", "messages": [{"role": "user", "content": question}], "matrix_align": own}


async def test_harmless_question_goes_to_the_model_alone(served: Served) -> None:
    served.server.on["Triage"] = lambda _: {"reason": "Nobody is hurt.", "harm": "none"}
    status, body, headers = await post(served.url, asked("What is the capital of Portugal?"))
    assert (status, headers["X-Matrix-Align-Simulate"]) == (200, "auto; let through")
    assert "X-Matrix-Align-Scene" not in headers
    assert json.loads(body)["model"] == "fake-model"
    assert served.server.kinds() == ["Triage", "text"]


@pytest.mark.parametrize("harm", ["some", "grave", "no such word"])
async def test_any_doubt_plays_the_scene(served: Served, harm: str) -> None:
    """So does a reply that can't be used."""
    served.server.on["Triage"] = lambda _: {"reason": "Somebody is.", "harm": harm}
    status, body, headers = await post(served.url, asked(f"How do I get {harm}?"))
    assert (status, headers["X-Matrix-Align-Simulate"]) == (200, "auto")
    assert json.loads(body)["model"] == "matrix"
    assert "Situation" in served.server.kinds()


NO_JSON = partial(web.Response, text="<html>", status=503, content_type="text/html")
ENDLESS = partial(web.Response, body=b"x" * 2**21)
SAID = (
    b'"choices": [{"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": "It is \\ud83d"}}]}'
)


@pytest.mark.parametrize(
    ("harm", "answer", "after"),
    [
        ("none", lambda: "It is blue.", b'"object": "chat.completion.chunk"'),
        ("none", partial(error, 429, "no more today"), b'data: {"error": {"message": "no more today"'),
        ("none", partial(completion, "It is \ud83d"), SAID + b"\n\ndata: [DONE]\n\n"),
        ("none", lambda: drop_mid_body, b'data: {"error": {"message": "http://'),
        ("none", NO_JSON, b'data: {"error": {"message": "the model\'s server sent neither a stream nor an error'),
        ("none", ENDLESS, b'data: {"error": {"message": "the model\'s server sent no stream, and more than 1 MiB'),
        ("some", lambda: "It is blue.", b'"model":"matrix"'),
        ("", lambda: "", b"not you"),
    ],
    ids=["stream", "error", "no stream", "dropped", "no JSON", "endless", "scene", "failed call"],
)
async def test_stream_is_kept_alive_before_anybody_answers(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    harm: str,
    answer: Any,
    after: bytes,
) -> None:
    """It then holds whatever comes, the model's own errors too. A client that has got all of it has not hung up."""
    caplog.set_level(logging.INFO, "matrix_align.gateway")
    monkeypatch.setattr(opening, "KEEP_ALIVE", 0.05)

    def late(body: dict[str, Any]) -> Any:
        time.sleep(0.3)
        return {"reason": "So.", "harm": harm} if harm else error(401, "not you")

    served.server.on |= {"Triage": late, "text": lambda body: answer()}
    question = f"Why is the sky blue? {harm} {after!r}"
    status, body, headers = await post(served.url, {**asked(question), "stream": True})
    assert (status, headers["X-Matrix-Align-Simulate"]) == (200, "auto")
    kept, _, rest = body.rpartition(b": keep-alive\n\n")
    assert kept.startswith(b": keep-alive") and after in rest
    await until(lambda: caplog.records)
    assert [vars(record)["fields"]["status"] for record in caplog.records] != [GONE]


def test_labelled_questions() -> None:
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    assert len({row["question"] for row in rows}) == 60
    labels = [row["label"] for row in rows]
    assert {label: labels.count(label) for label in labels} == {"harmless": 30, "careless": 15, "harmful": 15}
