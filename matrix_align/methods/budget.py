"""How many rounds a method that can go on makes: a fixed number, or as many as fit into a budget of tokens.

So methods can be compared at the same price. A token is counted when it is read (cached or not) and when it is
written. A call that comes from the record counts what it cost when it was paid, so a resumed answer makes the same
rounds. Knows no method.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from ..llm.caller import Caller

# The types of the settings' fields. `budget` is in tokens read and written for one answer; 0 means that there is none.
Rounds = Annotated[int, Field(ge=1, le=100)]
Budget = Annotated[int, Field(ge=0, le=100_000_000)]


def spent(caller: Caller) -> int:
    """The tokens read and written so far by all calls of the answer."""
    return sum(call.usage.prompt_tokens + call.usage.completion_tokens for call in caller.calls)


def rounds_within(caller: Caller, rounds: int, budget: int, closing: float = 0) -> Iterator[int]:
    """The numbers of the rounds to make, from 1. The caller of this breaks the loop if the method ends by itself.

    Without a budget there are `rounds` of them. With one, `rounds` counts for nothing: there is one round whatever it
    costs, and then another as long as one at the price of the last would fit. `closing` is the price of the calls after
    the last round, as a share of a round; it has to fit too. So a method exceeds its budget only by what its last round
    costs more than the round before it, or by its first round. If the server counts no tokens, there are `rounds`.
    """
    number = 0
    while True:
        number += 1
        before = spent(caller)
        yield number
        price = spent(caller) - before
        fits = spent(caller) + price * (1 + closing) <= budget if budget and price else number < rounds
        if not fits:
            return
