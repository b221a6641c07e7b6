"""Calls made at the same time: all are awaited, and the right one of their errors is raised."""

from __future__ import annotations

import pytest

from matrix_align import Caller, Message, Sampling, Scripted
from matrix_align.errors import BadReply, MatrixAlignError, StoreError
from matrix_align.llm.caller import Request
from matrix_align.llm.pool import Stopped

NO_REPLY = BadReply("no reply of use")
REQUESTS = [Request(kind, str, lambda _: [Message(role="user", content="Which colour?")]) for kind in "abc"]


@pytest.mark.parametrize("other", [StoreError("the disk is full"), Stopped("--max-tokens reached")])
async def test_error_that_is_not_the_models_is_not_hidden_by_one_that_is(other: MatrixAlignError) -> None:
    """If the record can't be written, that error is raised, not the one about an unusable reply."""
    caller = Caller(Scripted(NO_REPLY, other, "Blue."), Sampling())
    with pytest.raises(type(other)):
        await caller.all(REQUESTS)
    assert [call.kind for call in caller.calls] == ["c"], "what was answered is kept"


async def test_first_error_of_the_model_is_raised() -> None:
    caller = Caller(Scripted("Blue.", NO_REPLY, BadReply("another")), Sampling())
    with pytest.raises(BadReply, match="no reply of use"):
        await caller.all(REQUESTS)
