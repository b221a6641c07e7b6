"""The budget of tokens that methods share: how many rounds fit, and that a resumed answer makes the same ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from matrix_align import Caller, Sampling, Scripted
from matrix_align.methods.budget import rounds_within, spent
from matrix_align.types import Answer, Call, Usage

from .conftest import Run
from .fake import FakeServer, error, fill
from .records import rows

BUDGET = 60 * 110  # tokens; the fake endpoint counts 110 for a call


def paid(caller: Caller, tokens: int) -> None:
    """As if a call of this price had been made."""
    usage = Usage(prompt_tokens=tokens - 1, completion_tokens=1, requests=1)
    caller.calls.append(Call(kind="any", who="", step=0, depth=1, usage=usage))


@pytest.mark.parametrize(
    ("budget", "prices", "closing", "made"),
    [
        (0, [10, 10, 10, 10, 10], 0, 3),  # no budget: as many as asked for
        (50, [10, 10, 10, 10, 10, 10], 0, 5),  # exactly as many as fit
        (49, [10, 10, 10, 10, 10, 10], 0, 4),
        (5, [10, 10], 0, 1),  # the first round is made whatever it costs
        (50, [10, 10, 10, 10, 10, 10], 0.5, 4),  # what comes after the last round has to fit too
        (50, [10, 20, 40, 80], 0, 3),  # after 30 another 20 would fit; it costs 40
    ],
)
def test_rounds_go_on_as_long_as_another_fits(budget: int, prices: list[int], closing: float, made: int) -> None:
    caller = Caller(Scripted(), Sampling())
    numbers = []
    for number in rounds_within(caller, 3, budget, closing):
        numbers.append(number)
        paid(caller, prices[number - 1])
    assert numbers == list(range(1, made + 1))
    assert spent(caller) == sum(prices[:made])


def test_a_server_that_counts_no_tokens_cannot_make_a_budget_endless() -> None:
    caller = Caller(Scripted(), Sampling())
    assert list(rounds_within(caller, 3, 1000)) == [1, 2, 3]


class Endless:
    """Replies that are never good enough and never twice the same, so that each method goes on as long as it may.

    A request has one reply, whenever it is made. The text request with the number `fails` fails, once.
    """

    def __init__(self, server: FakeServer) -> None:
        self.fails = 0
        self._texts = 0
        self._numbers: dict[str, int] = {}
        server.on |= dict.fromkeys(("Evaluation", "Criticism", "Preference", "Outcome"), self._object)
        server.on["text"] = self._text

    def _number(self, body: dict[str, Any]) -> int:
        return self._numbers.setdefault(json.dumps(body, sort_keys=True), len(self._numbers))

    def _object(self, body: dict[str, Any]) -> Any:
        schema = body["response_format"]["json_schema"]["schema"]
        found = fill(schema, schema, f"thing {self._number(body)}")
        return found | {"verdict": "harmful"} if "verdict" in found else found

    def _text(self, body: dict[str, Any]) -> Any:
        self._texts += 1
        return error(400, "not today") if self._texts == self.fails else f"Answer {self._number(body)}."


@pytest.mark.parametrize("name", ["best_of_n", "debate", "role_answer", "rain", "outcome_preference"])
def test_a_budget_is_met_and_a_resumed_answer_is_the_same(
    name: str, cli: Run, server: FakeServer, tmp_path: Path
) -> None:
    """Of the budget at least half is spent, and no more. Where a call failed, the rest is not asked again."""
    endless = Endless(server)
    (tmp_path / "q.txt").write_text("How?\n")

    def generate(folder: str, *more: str) -> Answer:
        out = ("generate", str(tmp_path / "q.txt"), "--out", str(tmp_path / folder), "--endpoint", server.url)
        cli(*out, "--method", name, "--budget", str(BUDGET), *more)
        [(answer,)] = rows(tmp_path / folder / "record.db", "SELECT answer FROM answers")
        return Answer.model_validate_json(answer)

    whole = generate("whole")
    assert BUDGET / 2 < whole.usage.prompt_tokens + whole.usage.completion_tokens <= BUDGET

    asked = len(server.requests)
    endless.fails = endless._texts + 6
    broken = generate("broken")
    assert broken.error and "not today" in broken.error and broken.text is None
    assert 0 < len(broken.calls) < len(whole.calls)
    endless.fails = 0
    resumed = generate("broken", "--retry-failed")
    assert (resumed.text, resumed.initial, resumed.ending) == (whole.text, whole.initial, whole.ending)
    assert [(call.kind, call.key, call.depth) for call in resumed.calls] == [
        (call.kind, call.key, call.depth) for call in whole.calls
    ]
    assert len(server.requests) - asked == len(whole.calls) + 1, "each call is paid once"
