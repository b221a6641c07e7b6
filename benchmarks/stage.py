"""How quickly the stage lists, searches and opens scenes of a record with very many, over HTTP.

    python -m benchmarks.stage [SCENES] [CHARACTERS]

Makes a record of 100,000 made-up answers (or SCENES) in a folder of its own and asks for pages, one after the other.
Questions are one sentence, or at least CHARACTERS long, as those with a text or code in them are.
Says for each the median of nine requests, the slowest, and the median of the processor's time, which other work on the
machine changes little.
"""

from __future__ import annotations

import asyncio
import math
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import urlencode
from urllib.request import urlopen

from starlette.applications import Starlette

from matrix_align import Answer, Question, Sampling, Scene, Settings, Store, Usage
from matrix_align.simulation.types import (
    Aftermath,
    Asker,
    Cast,
    Critique,
    Ending,
    Event,
    Fate,
    Plan,
    Point,
    Role,
    Stance,
    Step,
    Verdict,
)
from matrix_align.types import Call
from matrix_align.web.pages import static
from matrix_align.web.server import listen, server_of
from matrix_align.web.stage import routes

ASKS = 9  # requests for each page
KINDS = 4620  # answers that differ in more than their number
THINGS = ("raise", "refund", "quiet", "seat", "recipe", "loan", "key", "ticket", "lift", "book", "reference", "garden")
WHOM = ("boss", "neighbour", "landlord", "teacher", "aunt", "bank", "friend", "doctor", "coach", "shop", "driver")
HARMS = ("none", "none", "loses", "deceived", "pressed", "exposed", "endangered")
LINE = "She puts the letter on the table, waits until he has read it, and says what she would like to have instead."


def made(number: int) -> Answer:
    """Answer `number`: a scene of five roles and ten events around a question of its own."""
    asked = f"How do I ask my {WHOM[number % 11]} for a {THINGS[number % 12]} without trouble, case {number}?"
    question, names = Question(text=asked), ("Bea", "Carl", "Dora", "Emil", "Fay")
    verdict = Verdict(feasible=True, outcome=LINE, observers=names[: number % 6], harm="", ending="goes on")
    fates = [
        Fate(who=name, later=LINE, harm=HARMS[(number + k) % 7], cause="the answer") for k, name in enumerate(names)
    ]  # type: ignore[arg-type]
    scene = Scene(
        question=question,
        settings=Settings(),
        initial=" ".join([LINE] * 5),
        situation=Asker(ego="Ann", asks=asked, setting=LINE),
        stance=Stance(hurts="", answer="helps"),
        cast=Cast(roles=tuple(Role(name=name, kind="person", traits=LINE, duty=LINE, stake=LINE) for name in names)),
        plan=Plan(steps=tuple(Step(when="Monday", act=LINE, words=(1,)) for _ in range(5))),
        events=tuple(
            Event(number=n, step=(n + 1) // 2, actor="Ann", action=LINE, verdict=verdict) for n in range(1, 11)
        ),
        ending=Ending(how="steps finished", why=LINE),
        aftermath=Aftermath(consequences=LINE, fates=tuple(fates), found_out=LINE, missing=LINE),
        critique=Critique(points=(Point(incidents=(1,), quotes=(1,), problem=LINE, change=LINE),)),
        revised=" ".join([LINE] * 5),
    )
    usage = Usage(prompt_tokens=1500, completion_tokens=80, seconds=1.0, requests=1)
    calls = tuple(
        Call(kind="verdict", who="Ann", step=1, depth=n, usage=usage, key=f"{number:x}-{n}") for n in range(1, 26)
    )
    return Answer(
        id=id_of(number),
        method=("matrix", "matrix", "matrix", "vanilla", "self_refine")[number % 5],
        model=f"model-{number % 4}",
        digest="",
        question=question,
        settings={},
        sampling=Sampling(),
        calls=calls,
        initial=scene.initial,
        text=scene.revised,
        ending=("steps finished", "goal reached", "stopped", "nothing more")[number % 4],
        scene=scene,
    )


def id_of(number: int) -> str:
    return f"{number * 2654435761 % 2**64:016x}"


def fill(path: Path, count: int, length: int) -> None:
    """Writes `count` answers, a minute apart, to questions of at least `length` characters."""
    more = (" " + LINE) * math.ceil(length / (len(LINE) + 1))
    with Store(path) as store, store.transaction() as db:
        for kind in range(min(KINDS, count)):
            answer = made(kind)
            whole, case = answer.model_dump_json(), f"case {kind}?"
            for number in range(kind, count, KINDS):
                at = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)).isoformat(timespec="milliseconds")
                asked = answer.question.text.replace(case, f"case {number}?{more}")
                text = whole.replace(answer.id, id_of(number)).replace(case, f"case {number}?{more}")
                row = (id_of(number), at, answer.method, answer.model, asked, answer.state, len(answer.calls), text)
                db.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def pages(count: int) -> Iterator[tuple[str, str]]:
    """What is asked for, and its address."""
    middle = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=count // 2)).isoformat(timespec="milliseconds")
    yield "list, first page", "/"
    yield "list, a page in the middle", "/?" + urlencode({"older": f"{middle} x"})
    yield "search: a word of 1 in 12 questions", "/?words=refund"
    yield "search: two words, one answer", f"/?words=case+{count // 3}"
    yield "search: a word of none", "/?words=zeppelin"
    yield "filter: harm", "/?harm=exposed"
    yield (
        "filter: method, model, ending, harm, word",
        "/?words=loan&method=matrix&model=model-1&harm=some&state=goal+reached",
    )
    yield "open a scene (replay)", f"/scenes/{id_of(count // 2)}"
    yield "a scene as one file", f"/scenes/{id_of(count // 2)}/file"


def measure(path: Path, count: int) -> None:
    """Prints the table for the record at `path`, which holds `count` answers."""
    listener = listen("127.0.0.1", 0)
    server = server_of(Starlette(routes=[*routes(path), static()]), drain=1)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    print("| page | median, ms | slowest, ms | processor, ms | KiB |\n|---|---|---|---|---|")
    for name, address in pages(count):
        times, busy = [], []
        for _ in range(ASKS):
            began, before = time.perf_counter(), time.process_time()
            with urlopen(f"http://127.0.0.1:{listener.getsockname()[1]}{address}") as answer:
                body = answer.read()
            times.append(1000 * (time.perf_counter() - began))
            busy.append(1000 * (time.process_time() - before))
        print(
            f"| {name} | {median(times):.0f} | {max(times):.0f} | {median(busy):.0f} | {len(body) / 1024:.0f} |",
            flush=True,
        )
    server.should_exit = True
    thread.join()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    length = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        path, began = Path(folder) / "scenes.db", time.perf_counter()
        fill(path, count, length)
        size = path.stat().st_size / 2**20
        print(f"{count:,} answers, {size:,.0f} MiB, written in {time.perf_counter() - began:.0f} s\n")
        measure(path, count)


if __name__ == "__main__":
    main()
