"""What each setting of the embedded server brings, and what the heads on disk bring, for one model.

    python -m benchmarks.engine heads MODEL                # all kinds of calls, in one process after another
    python -m benchmarks.engine settings MODEL [NAME…]    # settings on top of what serve() sets: all, or these

Times are CPU seconds divided by the cores: on an idle machine these are the seconds that pass, and on a shared one
other work spoils them less. Prints Markdown tables; benchmarks/README.md holds them. The requests are in asked.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from unittest.mock import patch
from urllib.request import Request, urlopen

from matrix_align import Message, Sampling
from matrix_align.llm.local import Served, serve
from matrix_align.llm.prefix_cache import Slotted
from matrix_align.llm.weights import weights_of

from . import asked

ROUNDS = 3
SLOTS = 4
CORES = len(os.sched_getaffinity(0))
Setting = Callable[[Any], None]
Body = dict[str, Any]


def busy() -> float:
    """CPU seconds of this process, the server's in it, divided by the cores."""
    return time.process_time() / CORES


def drafting(kind: str, key: int, draft: int) -> Setting:
    """Drafts of `draft` tokens that followed the last `key` tokens before, in the prompt or the reply."""

    def change(params: Any) -> None:
        from xllamacpp import common_speculative_type as types

        params.speculative.types = [getattr(types, f"COMMON_SPECULATIVE_TYPE_{kind.upper()}")]
        if kind != "ngram_cache":
            ngrams = getattr(params.speculative, kind)
            ngrams.size_n, ngrams.size_m, ngrams.min_hits = key, draft, 1

    return change


def small_model(params: Any) -> None:
    from xllamacpp import common_speculative_type as types

    params.speculative.types = [types.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
    draft = params.speculative.draft
    draft.mparams.path, draft.n_max, draft.p_min = str(weights_of("qwen2.5-coder-0.5b").path), 3, 0.6
    draft.cpuparams.n_threads = draft.cpuparams_batch.n_threads = CORES


def no_flash(params: Any) -> None:
    from xllamacpp import llama_flash_attn_type as types

    params.flash_attn_type = types.LLAMA_FLASH_ATTN_TYPE_DISABLED


def cache_q8(params: Any) -> None:
    from xllamacpp import ggml_type as types

    params.cache_type_k = params.cache_type_v = types.GGML_TYPE_Q8_0


def to(name: str, value: Any) -> Setting:
    return lambda params: setattr(params, name, value)


SETTINGS: dict[str, Setting] = {
    "as served": lambda params: None,
    "as served, again": lambda params: None,
    "drafts: ngram_map_k4v, 3 → 3": drafting("ngram_map_k4v", 3, 3),
    "drafts: ngram_map_k, 4 → 3": drafting("ngram_map_k", 4, 3),
    "drafts: ngram_map_k4v, 2 → 3": drafting("ngram_map_k4v", 2, 3),
    "drafts: ngram_map_k4v, 3 → 7": drafting("ngram_map_k4v", 3, 7),
    "drafts: ngram_cache": drafting("ngram_cache", 0, 0),
    "drafts: qwen2.5-coder-0.5b, 3": small_model,
    "no flash attention": no_flash,
    "KV cache Q8_0": cache_q8,
    "ubatch of 128": to("n_ubatch", 128),
    "one KV cache for all slots": to("kv_unified", True),
    "weights not repacked": to("no_extra_bufts", True),
    "no warm-up": to("warmup", False),
}


@dataclass
class Measured:
    """One setting's figures, one entry a round; texts are those of the last round."""

    start: list[float] = field(default_factory=list)  # seconds
    read: list[float] = field(default_factory=list)  # tokens a second
    alone: list[float] = field(default_factory=list)  # milliseconds a token
    at_once: list[float] = field(default_factory=list)
    drafted: int = 0
    accepted: int = 0
    texts: list[str] = field(default_factory=list)


def post(served: Served, slot: int, body: Body) -> Any:
    headers = {"Authorization": f"Bearer {served.key}", "Content-Type": "application/json"}
    request = Request(f"{served.url}/chat/completions", json.dumps({**body, "id_slot": slot}).encode(), headers)
    with urlopen(request, timeout=600) as answer:
        return json.load(answer)


def write(served: Served, bodies: list[Body], measured: Measured) -> tuple[float, float]:
    """Tokens a second at which the prompts are read, and milliseconds that a token of the replies takes."""
    began, tokens = busy(), 0
    for slot, body in enumerate(bodies):
        only_read = {name: value for name, value in body.items() if name != "response_format"}
        tokens += post(served, slot, {**only_read, "max_tokens": 0})["timings"]["prompt_n"]
    speed, began = tokens / (busy() - began), busy()
    with ThreadPoolExecutor(len(bodies)) as pool:
        replies = list(pool.map(lambda each: post(served, *each), enumerate(bodies)))
    seconds, timings = busy() - began, [reply["timings"] for reply in replies]
    measured.drafted += sum(each.get("draft_n", 0) for each in timings)
    measured.accepted += sum(each.get("draft_n_accepted", 0) for each in timings)
    measured.texts += [reply["choices"][0]["message"]["content"] for reply in replies]
    return speed, 1000 * seconds / sum(each["predicted_n"] for each in timings)


def measure(model: str, setting: Setting, measured: Measured) -> None:
    from xllamacpp import Server

    def changed(params: Any) -> Any:
        setting(params)
        return Server(params)

    measured.texts.clear()
    began = busy()
    with patch("xllamacpp.Server", changed), serve(model, slots=SLOTS) as served:
        measured.start.append(busy() - began)
        speed, each = write(served, [asked.cast()], measured)
        measured.read.append(speed)
        measured.alone.append(each)
        measured.at_once.append(write(served, asked.verdicts(), measured)[1])


def settings(model: str, names: list[str]) -> None:
    weights_of(model)  # fetched, and its digest made, before anything is timed
    rows = {name: Measured() for name in names or SETTINGS}
    for _ in range(ROUNDS):
        for name, row in rows.items():
            measure(model, SETTINGS[name], row)
    # of the texts, how many are the same as in the first row
    print("| setting | start, s | prompt tokens/s | ms a token, alone | 3 at once | drafts accepted | same texts |")
    print("|---|---|---|---|---|---|---|")
    usual = next(iter(rows.values())).texts
    for name, row in rows.items():
        figures = [f"{median(row.start):.1f}", *(f"{median(each):.0f}" for each in (row.read, row.alone, row.at_once))]
        drafts = f"{row.accepted} of {row.drafted}" if row.drafted else "-"
        same = sum(one == other for one, other in zip(row.texts, usual, strict=True))
        print(f"| {name} | {' | '.join(figures)} | {drafts} | {same} of {len(usual)} |", flush=True)


async def every_kind(model: str) -> None:
    """Asks each kind of call as a scene would, and prints what the prompts took until their first token."""
    with serve(model, slots=SLOTS) as served:
        async with Slotted(served) as slotted:
            began, tokens, cached = busy(), 0, 0
            for body in (asked.cast(), *asked.verdicts(), *asked.reactions()):
                prompt = [Message(**turn) for turn in body["messages"]]
                usage = (await slotted.ask(prompt, str, Sampling(temperature=0, max_tokens=1, seed=1))).usage
                tokens, cached = tokens + usage.prompt_tokens, cached + usage.cached_tokens
            print(f"| {tokens} | {tokens - cached} | {busy() - began:.1f} |", flush=True)


def heads(model: str) -> None:
    path = weights_of(model).path
    print("| process | prompt tokens | read | seconds |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "second", "third"):
            print(f"| {name} ", end="", flush=True)
            env = {**os.environ, "MATRIX_ALIGN_CACHE": folder}
            subprocess.run([sys.executable, "-m", __spec__.name, "every_kind", str(path)], env=env, check=True)


if __name__ == "__main__":
    match sys.argv[1]:
        case "every_kind":
            asyncio.run(every_kind(sys.argv[2]))
        case "heads":
            heads(sys.argv[2])
        case "settings":
            settings(sys.argv[2], sys.argv[3:])
