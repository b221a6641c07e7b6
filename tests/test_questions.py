"""How a row becomes a question: every shape that people use, and what is no question."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_align.data.preferences import preference_of
from matrix_align.data.questions import question_of
from matrix_align.data.sources import SourceRow, questions_from
from matrix_align.data.turns import Turn, turns_in
from matrix_align.types import Question

PAGE = (Path(__file__).parent.parent / "docs/sources.md").read_text(encoding="utf-8")
TURNS = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Two?"},
]


def asked(row: object, column: str | None = None) -> tuple[Any, ...]:
    """The question as (system, turn, turn, …). Each turn begins with its speaker's first letter."""
    question = question_of(row, column)
    return (question.system, *(f"{turn.role[0]} {turn.content}" for turn in question.history), f"u {question.text}")


def documented(section: str) -> list[str]:
    part = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    blocks = part.split("```jsonl\n")[1:]
    return [line for block in blocks for line in block.split("```")[0].splitlines()]


@pytest.mark.parametrize("line", documented("Questions"))
def test_page_lists_questions(line: str) -> None:
    """Each example is one question. It holds nothing of the answer or of the marks."""
    system, *turns = asked(json.loads(line))
    assert system in (None, "Be brief.")
    sky, summary = "u Why is the sky blue?", "u Sum this up.\n\nThe sky "
    assert len(turns) == 1 and (turns[0] == sky or turns[0].startswith(summary)), turns
    assert (system == "Be brief.") == ("Be brief." in line)


def test_page_lists_preferences() -> None:
    lines = documented("Preferences")
    assert len(lines) == 5
    found = [preference_of(json.loads(line)) for line in lines]
    assert [(pair.chosen, pair.rejected) for pair in found] == [("Light scatters.", "No idea."), *4 * [("So.", "No.")]]
    assert {pair.before[-1].content for pair in found} == {"Why is the sky blue?", "Why?"}
    assert {len(pair.before) for pair in found} == {1}


@pytest.mark.parametrize("column", ["question", "prompt", "instruction", "text", "messages", "chosen", "Some Name"])
@pytest.mark.parametrize("spelt", [lambda turns: turns, json.dumps, repr], ids=["list", "json", "python"])
def test_turns_in_any_column(column: str, spelt: Any) -> None:
    assert asked({"id": 1, column: spelt(TURNS)}, column) == (None, "u One?", "a Yes.", "u Two?")


DIALOGUES = {
    "hh-rlhf": "\n\nHuman: One?\n\nAssistant: Yes.\n\nHuman: Two?\n\nAssistant: No.",
    "hh-rlhf, open": "\n\nHuman: One?\n\nAssistant: Yes.\n\nHuman: Two?\n\nAssistant:",
    "stripped": "Human: One?\n\nAssistant: Yes.\n\nHuman: Two?",
    "lines": "Human: One?\nAssistant: Yes.\nHuman: Two?\nAssistant: No.",
    "user": "User: One?\nAssistant: Yes.\nUser: Two?\n",
    "guanaco": "### Human: One?### Assistant: Yes.### Human: Two?### Assistant: No.",
    "headings": "### Instruction:\nOne?\n\n### Response:\nYes.\n\n### Instruction:\nTwo?\n\n### Response:\n",
    "chatml": "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
    "<|im_start|>user\nTwo?<|im_end|>\n",
    "llama 2": "<s>[INST] One? [/INST] Yes. </s><s>[INST] Two? [/INST]",
    "llama 3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nOne?<|eot_id|><|start_header_id|>assistant"
    "<|end_header_id|>\n\nYes.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nTwo?<|eot_id|>",
    "gemma": "<bos><start_of_turn>user\nOne?<end_of_turn>\n<start_of_turn>model\nYes.<end_of_turn>\n"
    "<start_of_turn>user\nTwo?<end_of_turn>\n<start_of_turn>model\n",
    "zephyr": "<|user|>\nOne?</s>\n<|assistant|>\nYes.</s>\n<|user|>\nTwo?</s>\n<|assistant|>\n",
}


@pytest.mark.parametrize("text", DIALOGUES.values(), ids=DIALOGUES)
@pytest.mark.parametrize("column", ["prompt", "text", "chosen"])
def test_dialogues_in_any_column(text: str, column: str) -> None:
    assert asked({column: text}) == (None, "u One?", "a Yes.", "u Two?")
    assert asked(text) == (None, "u One?", "a Yes.", "u Two?")


@pytest.mark.parametrize(
    "text",
    [
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nOne? [/INST]",
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n",
        "Be kind.\n\nHuman: One?\n\nAssistant:",
        "System: Be kind.\n\nHuman: One?\n\nAssistant:",
        "### System:\nBe kind.\n\n### User:\nOne?\n\n### Assistant:\n",
    ],
)
def test_system_prompt_in_a_dialogue(text: str) -> None:
    assert asked({"prompt": text}) == ("Be kind.", "u One?")


def test_alpaca_prompt() -> None:
    """The words before every row are no part of the question."""
    head = "Below is an instruction that describes a task, paired with an input. Write a response.\n\n"
    text = f"{head}### Instruction:\nSum this up.\n\n### Input:\nIt rains.\n\n### Response:\nRain."
    assert asked({"text": text}) == (None, "u Sum this up.\n\nIt rains.")


@pytest.mark.parametrize(
    "text",
    [
        "What does <|im_start|> mean?",
        "<|user|> is a tag of which model?",
        "Human: nature or nurture?",
        "Sum this up:\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye",
        "### Instruction: what does this heading mean?",
        "[INST] is a mark of which model?",
        "[1, 2, 3]",
        '{"a": 1}',
        "[see above] What is it? [1]",
        "{'role': what is that in Python?}",
        '[{"name": "Ann", "age": 7}]',
        "user: what is a user?",
    ],
)
def test_texts_that_are_no_dialogue(text: str) -> None:
    assert asked({"prompt": text}) == (None, f"u {text}")


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"Question": "One?"}, (None, "u One?")),
        ({"PROMPT": "One?"}, (None, "u One?")),
        ({" prompt ": "One?"}, (None, "u One?")),
        ({"question": "", "Question": "One?"}, (None, "u One?")),
        ({"Messages": [{"Role": "USER", "Content": "One?"}]}, (None, "u One?")),
        ({"instruction": "Sum up.", "context": "It rains.", "response": "x"}, (None, "u Sum up.\n\nIt rains.")),
        ({"instruction": "Sum up.", "input": ""}, (None, "u Sum up.")),
        ({"question": "Is it wet?", "passage": "It rains.", "answer": True}, (None, "u Is it wet?\n\nIt rains.")),
        ({"prompt": "It rains. Is it wet?", "context": "It rains."}, (None, "u It rains. Is it wet?")),
        ({"input": "One?", "output": "x"}, (None, "u One?")),
        ({"context": TURNS[:2], "question": "Two?"}, (None, "u One?", "a Yes.", "u Two?")),
        ({"text": "One?", "context": "n/a"}, (None, "u One?")),
        ({"role": "prompter", "text": "One?", "parent_id": None}, (None, "u One?")),
        ({"from": "human", "value": "One?"}, (None, "u One?")),
        ({"from": "ann@example.org", "text": "One?"}, (None, "u One?")),
        ({"role": "assistant", "prompt": "One?"}, (None, "u One?")),
        (TURNS, (None, "u One?", "a Yes.", "u Two?")),
        ({"prompt": json.dumps({"messages": TURNS})}, (None, "u One?", "a Yes.", "u Two?")),
        ({"prompt": '{"role": "user", "content": "One?"}'}, (None, "u One?")),
        (
            {"prompt": "[{'role': 'user', 'content': 'One} {?'}\n {'role': 'assistant', 'content': 'a'}]"},
            (None, "u One} {?"),
        ),
        ({"turns": '["One?", "And then?"]'}, (None, "u One?")),
        (
            {"conversations": {"from": ["human", "gpt", "human"], "value": ["One?", "Yes.", "Two?"]}},
            (None, "u One?", "a Yes.", "u Two?"),
        ),
        (
            {"messages": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "One?"}]},
            ("Be kind.", "u One?"),
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "One?"}, {"type": "text", "text": "a"}]}
                ]
            },
            (None, "u One?\na"),
        ),
        (  # what comes after the question is the answer's, tools and all
            {"messages": [TURNS[0], {"role": "assistant", "tool_calls": [{}]}, {"role": "tool", "content": "4"}]},
            (None, "u One?"),
        ),
    ],
)
def test_what_is_asked(row: object, wanted: tuple[Any, ...]) -> None:
    assert asked(row) == wanted


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"role": "assistant", "content": "Yes."}, "a turn of the assistant"),
        ({"role": "system", "text": "Be kind."}, "a turn of the system"),
        ({"from": "gpt", "value": "Yes."}, "a turn of the assistant"),
        ({"role": "prompter", "text": "And then?", "parent_id": "17"}, "parent_id"),
        ({"messages": [TURNS[0], {"role": "tool", "content": "4"}, TURNS[2]]}, "a tool's turn"),
        ({"messages": [TURNS[0], {"role": "assistant", "tool_calls": [{}]}, TURNS[2]]}, "a tool's turn"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "image_url"),
        ({"messages": [{"role": "narrator", "content": "One?"}]}, "'narrator'"),
        ({"messages": [{"role": "user", "content": 5}]}, "int"),
        ({"messages": ["One?", {"role": "user", "content": "Two?"}]}, "not a turn"),
        ({"messages": TURNS[1:2]}, "no turn of a user"),
        ({"prompt": "[{'role': 'user', 'content': 'One?'}, {'role': 'user', …]"}, "neither JSON nor"),
        ({"question": "Is it wet?", "context": {"title": ["Rain"]}}, "context"),
        ({"prompt": {"a": "One?"}}, "prompt is dict"),
        ({"question": ""}, "question is empty"),
        ({"a": "One?"}, "it has a; name one with --column"),
        ([1, 2], "not list"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_question(row: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        question_of(row)


# --- properties

NAMES = """question prompt Instruction messages conversations turns chosen rejected text content context input role from
value tool_calls system parent_id type focus category response_0 response_1 better_response_id"""
known = st.sampled_from(NAMES.split())
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([*DIALOGUES.values()]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | known, inner, max_size=4),
    max_leaves=12,
)
spelt = values.map(repr) | values.map(lambda value: json.dumps(value, default=str))


@given(st.dictionaries(known, values | spelt, max_size=6) | values | spelt)
def test_any_row_is_a_question_or_says_why_not(row: object) -> None:
    for made in (question_of, preference_of):
        try:
            made(row)
        except ValueError as error:
            assert str(error)


turns = st.lists(
    st.builds(Turn, cast(Any, st.sampled_from(["system", "user", "assistant"])), st.text(max_size=30)),
    min_size=1,
    max_size=5,
)


@given(turns, st.sampled_from([json.dumps, repr, lambda rows: json.dumps(rows, ensure_ascii=False, indent=1)]))
def test_turns_spelt_out_are_the_same_turns(said: list[Turn], spelt: Any) -> None:
    assert turns_in(spelt([{"role": turn.role, "content": turn.content} for turn in said]), "prompt") == said


@given(said=turns, spelt=st.sampled_from([json.dumps, repr]))
def test_turns_come_back_from_a_csv_file(
    tmp_path_factory: pytest.TempPathFactory, said: list[Turn], spelt: Any
) -> None:
    rows = [{"role": turn.role, "content": turn.content} for turn in said]
    try:
        wanted = question_of(rows)
    except ValueError:
        return
    path = tmp_path_factory.mktemp("turns") / "a.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "prompt"], [1, spelt(rows)]])
    [row] = questions_from(str(path))
    assert isinstance(row, SourceRow), row
    assert isinstance(wanted, Question)
    assert row.question == wanted
