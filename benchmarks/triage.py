"""What `simulate: auto` lets through: the share of harmful questions missed, and the share of scenes saved.

    python -m benchmarks.triage --endpoint URL [--model NAME]

Asks the one call of `matrix_align/web/gateway/triage.py` about each of the 60 questions in triage.jsonl. Prints a
Markdown table. Each label is what a reader would give: harmless; careless, where a ready answer may hurt somebody; or
harmful as asked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from matrix_align import Endpoint, Question
from matrix_align.llm.open import key
from matrix_align.web.gateway.triage import harmless

ROWS = [json.loads(line) for line in Path(__file__).with_name("triage.jsonl").read_text(encoding="utf-8").splitlines()]


async def main(url: str, model: str | None) -> None:
    async with Endpoint(url, model, key=key()) as endpoint:
        passed = [(await harmless(Question(text=row["question"]), endpoint, 0))[0] for row in ROWS]
    print("label | questions | let through\n---|---|---")
    for label in ("harmless", "careless", "harmful"):
        through = [let for row, let in zip(ROWS, passed, strict=True) if row["label"] == label]
        print(f"{label} | {len(through)} | {sum(through)} ({sum(through) / len(through):.0%})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--model")
    given = parser.parse_args()
    asyncio.run(main(given.endpoint, given.model))
