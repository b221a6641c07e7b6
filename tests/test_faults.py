"""10,000 bad replies and faults: every scene ends with an answer or one typed, recorded error, and memory stays flat.

Seeded dice decide what the endpoint answers: mostly good or mostly bad, in every way a model or a server can fail.
MATRIX_ALIGN_FAULTS is the number of faults (10,000 if not set).
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from matrix_align import Answer, Endpoint, MatrixAlignError, ModelError, Question, Recorded, Store
from matrix_align.llm.structured import parse
from matrix_align.simulation.types import Situation

from .conftest import watched
from .fake import FakeServer, completion, drop, drop_mid_body, error

FAULTS = int(os.environ.get("MATRIX_ALIGN_FAULTS", "10000"))
READ = 2.0  # seconds the client waits for a body
BATCH = 100  # scenes at once
HANG = 180.0  # seconds after which a scene is said to hang; it takes a few

Dice = random.Random
Bad = Callable[[Dice, str], Any]  # (dice, the good reply) → what is said instead

# What a model says wrongly. ---------------------------------------------------------------------------------------


def changed(dice: Dice, good: str, to: Callable[[Any], Any]) -> str:
    """The good reply as JSON with one of its values changed. A plain reply goes through `to`."""
    try:
        value = json.loads(good)
    except ValueError:
        return str(to(good))
    name = dice.choice(list(value))
    return json.dumps(value | {name: to(value[name])})


def truncated(dice: Dice, good: str) -> Any:
    return completion(good[: dice.randrange(len(good))], finish=dice.choice(["stop", "length"]))


def cut_off(dice: Dice, good: str) -> Any:
    return completion(good[: len(good) // 2], finish="length")


def wrong_type(dice: Dice, good: str) -> Any:
    other: Any = dice.choice([None, 7, -1.5, True, [], {}, [[]], "", [None], {"a": 1}, 10**40])
    return completion(changed(dice, good, lambda _: other))


def wrong_name(dice: Dice, good: str) -> Any:
    return completion(changed(dice, good, lambda old: ["Nobody Here"] if isinstance(old, list) else "perhaps"))


def missing_key(dice: Dice, good: str) -> Any:
    return completion(json.dumps({"thought": good}))


def empty(dice: Dice, good: str) -> Any:
    return completion(dice.choice(["", " ", "\n\n", "{}", "null", "<think>", "<think></think>", "```json\n```"]))


def huge(dice: Dice, good: str) -> Any:
    filling = dice.choice(["word ", "a", "\n", " ", "{", "[", '"', "```\n", "\\", "<", "<think>", "日本 ", "critique "])
    text = filling * (100_000 // len(filling))
    return completion(
        dice.choice([text, good + text, text + good, "```json\n" + text, changed(dice, good, lambda _: text)])
    )


def other_language(dice: Dice, good: str) -> Any:
    said = dice.choice(["好的,我来帮您看看。", "هذا يعتمد على الظروف", "Конечно, вот ответ:", "🙂👩‍👩‍👧", "Z͑ͫ̓a̴l̷g͝o̵"])
    return completion(dice.choice([said, said + good, changed(dice, good, lambda _: said)]))


def odd_characters(dice: Dice, good: str) -> Any:
    odd: Any = dice.choice(["\0", "\ud800", "\udc80x", "\x1b[2J", "\u202e", "\ufeff", "\x7f", "\u2028", "a\0\ud83d"])
    return completion(dice.choice([odd, odd + good, changed(dice, good, lambda _: odd)]))


def array(dice: Dice, good: str) -> Any:
    return completion(dice.choice([f"[{good}]", "[]", "[1, 2, 3]", f'[[["{good[:5]}"]]]']))


def deep(dice: Dice, good: str) -> Any:
    depth = int(10 ** dice.uniform(2, 4.7))
    opened, closed = dice.choice([("[", "]"), ('{"a":', "}")])
    nest = opened * depth + "1" + closed * depth
    return completion(dice.choice([nest, f'{{"deep": {nest}}}', opened * depth, f'{good[:-1]}, "deep": {nest}}}']))


def not_a_number(dice: Dice, good: str) -> Any:
    return completion(
        changed(dice, good, lambda _: "@").replace('"@"', dice.choice(["NaN", "Infinity", "-1e999", "9" * 5000]))
    )


def chatter(dice: Dice, good: str) -> Any:
    return completion(
        dice.choice([f"Sure! {good} Anything else?", f"```json\n{good}\n```", f"<think>{good}", "I can't."])
    )


def still_split(dice: Dice, good: str) -> Any:
    """Reasoning in the text, in forms that leave the answer known and in forms that don't."""
    known = [f"Hm, so yes.</think>{good}", f"<|channel|>analysis<|message|>Hm.<|end|><|channel|>final<|message|>{good}"]
    known += [f"[THINK]Hm.[/THINK]{good}", f"analysisHm.assistantfinal{good}", f"{good}<|im_end|>"]
    lost = [
        f"{good}\n<think>\nOr so",
        f"{good}<|im_end|>\n<|im_start|>user\nMore",
        f"<|channel|>{good}",
        f"{good}</think>",
    ]
    return completion(dice.choice([*known, *lost]), finish=dice.choice(["stop", "length"]))


def all_thought(dice: Dice, good: str) -> Any:
    thought = dice.choice([good, f"Perhaps {good}", good[: len(good) // 2], "Hm."])
    return completion("", finish=dice.choice(["stop", "MAX_TOKENS"]), reasoning_content=thought)


def cut_in_other_words(dice: Dice, good: str) -> Any:
    ends = ["max_tokens", "MAX_TOKENS", "model_length", "content_filter", "SAFETY", "RECITATION", "refusal"]
    return completion(dice.choice([good, good[: len(good) // 2], ""]), finish=dice.choice(ends))


# What a server says wrongly in a body of status 200. ------------------------------------------------------------


def no_content(dice: Dice, good: str) -> Any:
    return completion(good, content=dice.choice([None, 5, [], {}, [{"type": "text", "text": good}]]))


def no_choices(dice: Dice, good: str) -> Any:
    choices: Any = dice.choice(
        [None, [], {}, "x", [None], [[]], [{}], [{"message": None}], [{"message": {}}], [{"text": good}]]
    )
    return web.json_response({"choices": choices, "usage": None})


def other_body(dice: Dice, good: str) -> Any:
    body = dice.choice(
        [b"", b"null", b"[]", b"5", b"NaN", b'"x"', b"{", b"\xff\xfe\0", b"[" * 100_000, b'{"error": "no"}']
    )
    return web.Response(body=body, content_type="application/json")


def html(dice: Dice, good: str) -> Any:
    page = "<!doctype html><html><body><h1>It works!</h1></body></html>"
    return web.Response(text=page, content_type="text/html", status=dice.choice([200, 404, 502]))


def odd_usage(dice: Dice, good: str) -> Any:
    odd: Any = dice.choice([None, "many", -5, 1.5, True, [], 10**30, int("9" * 4000)])
    usage = dice.choice([odd, {"prompt_tokens": odd, "completion_tokens": odd, "prompt_tokens_details": odd}])
    choice: Any = {"message": {"content": good}, "finish_reason": dice.choice([None, 5, [], "tool_calls"])}
    return web.json_response({"choices": [choice], "usage": usage})


# What a server or the way to it does instead of answering. -----------------------------------------------------


def busy(dice: Dice, good: str) -> Any:
    wait = dice.choice(
        ["0", "0", "-1", "nan", "soon", "", "Mon, 01 Jan 2001 00:00:00 GMT", "Mon, 99999999999999999999 Jan"]
    )
    return error(429, "slow down", **{"Retry-After": wait})


def broken(dice: Dice, good: str) -> Any:
    words = dice.choice(["", "oops", "\0\ud800", "x" * 100_000, "[" * 5000])
    return web.Response(text=json.dumps({"error": {"message": words}}), status=dice.choice([500, 502, 503, 504, 529]))


def refused(dice: Dice, good: str) -> Any:
    status, words = dice.choice(
        [(400, "no"), (400, "exceed_context_size_error"), (403, "forbidden"), (418, ""), (422, "\ud800")]
    )
    return error(status, words)


def false_gzip(dice: Dice, good: str) -> Any:
    return web.Response(body=b"not gzip", headers={"Content-Encoding": "gzip"})


def bomb(dice: Dice, good: str) -> Any:
    return web.Response(body=BOMB, headers={"Content-Encoding": "gzip"})


def redirect(dice: Dice, good: str) -> Any:
    return web.Response(
        status=307, headers={"Location": dice.choice(["completions", "", "http://[", "ftp://a/b", "//:0"])}
    )


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(READ + 1)
    return completion("too late")


async def dripping(request: web.Request) -> None:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:  # until the client has gone
        await response.write(b" ")
        await asyncio.sleep(0.5)


async def not_http(request: web.Request) -> None:
    assert request.transport
    request.transport.write(b"\xff\xfe hello\r\n\r\n")
    await drop(request)


async def odd_reason(request: web.Request) -> None:
    assert request.transport
    request.transport.write(b"HTTP/1.1 500 \xff\xfe\r\nContent-Length: 0\r\n\r\n")
    await drop(request)


BOMB = gzip.compress(b" " * 20 * 2**20)  # 20 kB that unpack to more than a reply may have
SAID: list[Bad] = [truncated, cut_off, wrong_type, wrong_name, missing_key, empty, huge, other_language, odd_characters]
SAID += [still_split, still_split, all_thought, cut_in_other_words]
SAID += [array, deep, not_a_number, chatter, no_content, no_choices, other_body, html, odd_usage]
SAID += [busy, busy, broken, broken, refused, false_gzip, redirect]
DONE = [drop, drop, drop_mid_body, drop_mid_body, not_http, odd_reason]
RARE = [slow, dripping, bomb]  # these take long: one bad answer in a hundred


class Monkey:
    """Stands before the fake endpoint, and gives a bad answer to a `share` of the requests. `did` counts them."""

    def __init__(self, server: FakeServer, seed: int) -> None:
        self.share = 0.0
        self.did: Counter[str] = Counter()
        self._server = server
        self._dice = Dice(seed)

    async def __call__(self, request: web.Request) -> Any:
        dice = self._dice
        if dice.random() >= self.share:
            return None
        act: Any = dice.choice(RARE) if dice.randrange(100) == 0 else dice.choice([*SAID, *DONE])
        self.did[act.__name__] += 1
        if act in (slow, dripping, *DONE):
            return await act(request)
        good = self._server.default(await request.json())
        return act(dice, good if isinstance(good, str) else json.dumps(good))


async def checked(server: FakeServer, store: Store, number: int) -> Answer:
    """The last state of one answer, compared with what the monkey did and how it ended, and saved."""
    answer, raised = None, None
    async with Endpoint(server.url, server.name, attempts=3, read=READ) as endpoint:
        question = Question(text=f"How do I plan a picnic for {number} guests?")
        try:
            async for answer in watched(Recorded(endpoint, store), question, roles=2, steps=2):
                pass
        except MatrixAlignError as caught:
            raised = caught
    assert answer
    store.save(answer)
    saved = store.answer(answer.id)
    assert saved
    assert saved.model_dump(mode="json") == answer.model_dump(mode="json")
    if raised:
        assert isinstance(raised, ModelError)
        assert answer.error == f"{type(raised).__name__}: {raised}"
        assert len(str(raised).splitlines()) == 1
    else:
        assert answer.text
        assert not any(mark in answer.text for mark in ("think>", "THINK]", "<|", "assistantfinal")), answer.text
        assert answer.error is None
    return answer


def resident() -> int:
    """The memory of this process, in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory held from /proc")
async def test_every_scene_ends(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matrix_align.llm.http.random.uniform", lambda low, high: 0.0)  # no back-off
    monkey, ended, scenes, held = Monkey(server, seed=1), Counter[str](), 0, []
    path = tmp_path / "scenes.db"
    with Store(path) as store:
        while monkey.did.total() < FAULTS:
            monkey.share = 0.25 if scenes // BATCH % 3 else 0.85  # two batches in three are mostly good
            server.faults = [monkey] * 20_000
            batch = [checked(server, store, scenes + each) for each in range(BATCH)]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(asyncio.wait_for(each, HANG)) for each in batch]
            done = [task.result() for task in tasks]
            ended.update("error" if answer.error else "answer" for answer in done)
            recorded = failures(path)
            assert Counter(answer.error for answer in done if answer.error) <= recorded
            scenes += BATCH
            server.requests.clear()
            server.headers.clear()
            if monkey.did.total() > FAULTS // 3:  # by now every cache is full
                held.append(resident())
    assert set(monkey.did) == {act.__name__ for act in (*SAID, *DONE, *RARE)} or FAULTS < 10_000
    assert ended["answer"] > 0 < ended["error"]
    # What leaks stays. A single batch may hold more just then: the floods that its own answers were drowned in.
    assert min(held[-3:]) - min(held[:3]) < 50


def failures(path: Path) -> Counter[str]:
    """The recorded failures, by the names that scenes give them."""
    with closing(sqlite3.connect(path)) as record:
        return Counter(f"{kind}: {message}" for kind, message in record.execute("SELECT error, message FROM failures"))


@pytest.mark.parametrize("depth", [400, 480, 600, 900, 990, 5000])
def test_deep_nesting_is_a_wrong_reply(depth: int) -> None:
    """At any depth, it fails like every other reply of a wrong form."""
    with pytest.raises(ValueError, match=r"setting|whole JSON"):
        parse('{"deep": ' + '{"a":' * depth + "1" + "}" * depth + "}", Situation)


FLOODS = {
    "blank lines": "'x' + chr(10) * 10**6 + 'x'",
    "a fence and blank lines": "'```json' + chr(10) * 10**6 + '{'",
    "open fences": "('```json' + chr(10)) * 10**5",
    "spaces": "' ' * 10**6 + 'x'",
    "open braces": "'{' * 10**6",
    "open tags": "'<think>' * 10**5",
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_read_in_linear_time(flood: str) -> None:
    """Small models repeat one thing for ever.

    A megabyte of it is read at once, not in hours. A process of its own can be killed.
    """
    code = f"""
from matrix_align.llm.completion import completion_of
from matrix_align.llm.structured import parse
from matrix_align.simulation.types import Situation
text = {FLOODS[flood]}
answer = completion_of({{"choices": [{{"message": {{"content": text}}}}]}}).text
for each in (answer, text):
    try:
        parse(each, Situation)
    except ValueError:
        print("no")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["no", "no"]
