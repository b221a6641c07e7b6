"""How a row becomes a preference: the shapes that people use, and rows that are no preference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from matrix_align.data.preferences import preference_of

ASKED = {"role": "user", "content": "Why?"}
SO, NO = {"role": "assistant", "content": "So."}, {"role": "assistant", "content": "No."}
EARLIER = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
HH = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:"
PKU = {"prompt": "Why?", "response_0": "No.", "response_1": "So.", "is_response_0_safe": True}


@pytest.mark.parametrize(
    ("row", "before"),
    [
        ({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, ["user Why?"]),
        ({"Question": "Why?", "Chosen": " So.\n", "Rejected": "No."}, ["user Why?"]),
        (
            {"system": "Be kind.", "question": "Why?", "chosen": "So.", "rejected": "No."},
            ["system Be kind.", "user Why?"],
        ),
        ({"instruction": "Why?", "input": "It rains.", "chosen": "So.", "rejected": "No."}, ["user Why?\n\nIt rains."]),
        ({"prompt": [*EARLIER, ASKED], "chosen": [SO], "rejected": [NO]}, ["user Hi", "assistant Hello", "user Why?"]),
        ({"prompt": [ASKED], "chosen": "So.", "rejected": "No."}, ["user Why?"]),
        ({"prompt": "Why?", "chosen": [ASKED, SO], "rejected": [ASKED, NO]}, ["user Why?"]),
        ({"chosen": [ASKED, SO], "rejected": [ASKED, NO]}, ["user Why?"]),
        ({"system": "Be kind.", "chosen": [ASKED, SO], "rejected": [ASKED, NO]}, ["system Be kind.", "user Why?"]),
        (
            {"prompt": "Hi", "chosen": [EARLIER[1], ASKED, SO], "rejected": [EARLIER[1], ASKED, NO]},
            ["user Hi", "assistant Hello", "user Why?"],
        ),
        ({"prompt": "Why?", "chosen": json.dumps([ASKED, SO]), "rejected": repr([ASKED, NO])}, ["user Why?"]),
        ({"prompt": "Why?", "chosen": SO, "rejected": NO}, ["user Why?"]),
        ({"chosen": f"{HH} So.", "rejected": f"{HH} No."}, ["user Hi", "assistant Hello", "user Why?"]),
        ({"prompt": HH, "chosen": " So.", "rejected": " No."}, ["user Hi", "assistant Hello", "user Why?"]),
        ({**PKU, "better_response_id": 1, "safer_response_id": 0}, ["user Why?"]),
        ({**PKU, "safer_response_id": 1}, ["user Why?"]),
        ({**PKU, "better_response_id": "1"}, ["user Why?"]),
        ({**PKU, "better_response_id": 1.0}, ["user Why?"]),  # a column of pandas with a gap in it
    ],
)
def test_shapes(row: dict[str, Any], before: list[str]) -> None:
    preference = preference_of(row)
    assert [f"{message.role} {message.content}" for message in preference.before] == before
    assert (preference.chosen, preference.rejected) == ("So.", "No.")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"chosen": "So.", "rejected": "No."}, "no prompt"),
        ({"prompt": "\0", "chosen": "So.", "rejected": "No."}, r"^the question is empty.*$"),
        ({"prompt": "", "chosen": "So.", "rejected": "No."}, "no prompt"),
        ({"prompt": "Why?", "chosen": "So."}, "no rejected"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": ""}, "rejected is empty"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": " "}, "replies is empty"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": "So."}, "are the same"),
        ({"prompt": "Why?", "chosen": 5, "rejected": "So."}, "chosen does not end"),
        ({"prompt": "Why?", "chosen": [ASKED], "rejected": [NO]}, "chosen does not end"),
        ({"chosen": [ASKED, SO], "rejected": [*EARLIER, ASKED, NO]}, "same dialogue"),
        ({"chosen": [ASKED, NO, SO], "rejected": [ASKED, NO, NO]}, "turn of the user"),
        ({"prompt": EARLIER, "chosen": "So.", "rejected": "No."}, "ends in an assistant's turn"),
        (
            {"prompt": "Why?", "chosen": [ASKED, {"role": "tool", "content": "4"}, SO], "rejected": [NO]},
            "a tool's turn",
        ),
        ({**PKU}, "says 0 or 1"),
        ({**PKU, "better_response_id": 2}, "says 0 or 1"),
        ({**PKU, "better_response_id": [1]}, "says 0 or 1"),
        (["So.", "No."], "not list"),
    ],
)
def test_what_is_no_preference(row: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        preference_of(row)
