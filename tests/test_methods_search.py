"""The methods that search among several answers, and the budget of tokens that they share."""

from __future__ import annotations

import pytest

from matrix_align import Caller, Sampling, Scripted
from matrix_align.methods.budget import rounds_within, spent
from matrix_align.types import Call, Usage


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
