"""Reasoning that a server sends in one text with the answer: every way models mark it, and answers about the marks."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_align.llm.reasoning import KINDS, part

anything = st.text(st.characters(exclude_categories=()))
plain = st.text(st.characters(exclude_characters="<[◁`|", exclude_categories=["C"]))
SCRAPS = "<think> </think> <thinking> </thinking> <|channel|> analysis final <|message|> <|end|> <|start|> assistant"
SCRAPS += ' [THINK] [/THINK] ◁think▷ ◁/think▷ ``` ` \n . , Blue assistantfinal </s> <|im_end|> <answer> </answer> " ('
scraps = st.lists(st.sampled_from([*SCRAPS.split(" "), " "]) | anything).map("".join)

MARKS = [
    *((f"<{word}>", f"</{word}>") for word in ("think", "Think", "thinking", "thought", "reasoning", "reflection")),
    *((f"<{word}>", f"</{word}>") for word in ("seed:think", "mm:think", "inner_monologue", "reason", "scratchpad")),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|thinking|>", "<|/thinking|>"),
    ("<|begin_of_thought|>\n\n", "\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|start|>assistant<|channel|>analysis<|message|>", "<|channel|>final <|constrain|>json<|message|>"),
    ("analysis", "assistantfinal"),
    ("Here is my thought process:\n", "\n\nHere is my response:\n"),
    ("Here are my reasoning steps:\n", "\n[BEGIN FINAL RESPONSE]\n"),
]
ENDED = ["", "\n", "<|im_end|>", "<|return|>", "\n</s>", "<|END_RESPONSE|>", "<|end_of_solution|> <|eot_id|>\n"]


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_reasoning_and_answer_are_told_apart(opening: str, closing: str) -> None:
    for text in (f"{opening}Hm.{closing}Blue.", f"\n{opening}\nHm.\n{closing}\n\nBlue."):
        for end in ENDED:
            found = part(text + end)
            assert (found.reasoning, found.answer, found.stray) == ("Hm.", "Blue.", ""), text + end
    assert {name for name, kind in KINDS.items() if kind.sign in opening + closing}, "the table says where it stands"


@pytest.mark.parametrize(
    ("opening", "closing"), [pair for pair in MARKS if pair[0][0] in "<[◁" and "reason>" not in pair[0]]
)
def test_reasoning_may_come_late_or_more_than_once(opening: str, closing: str) -> None:
    if opening == "<scratchpad>":
        pytest.skip("a tag of many other texts: only at the beginning is it reasoning")
    for text in (f"Sure, one moment.\n{opening}Hm.{closing}Blue.", f"{opening}Hm.{closing}{opening}So.{closing}Blue."):
        found = part(text)
        assert (found.answer, found.stray) == ("Blue.", ""), text
        assert "Hm." in found.reasoning


@pytest.mark.parametrize(("opening", "closing"), [pair for pair in MARKS if pair[0][0] in "<[◁"])
def test_reasoning_that_was_cut_leaves_no_answer(opening: str, closing: str) -> None:
    assert part(f"{opening}Hm. And so") == part(f"\n{opening}\nHm. And so\n")
    assert (part(f"{opening}Hm. And so").reasoning, part(f"{opening}Hm. And so").answer) == ("Hm. And so", "")


UNOPENED = [
    "Sea, so yes.</think>Blue.",
    "Sea, so yes.</think> Blue.",
    "Sea, so yes </think> Blue.",
    "Sea\n</think>\nBlue.",
]
UNOPENED += ["Sea.\n\n</think>\n\nBlue.", "Sea, so yes.</think>\nBlue.", "So.</seed:think>Blue.", "So.◁/think▷Blue."]
UNOPENED += ["So.[/THINK]Blue.", "So.<|END_THINKING|>Blue.", "<|channel|>final<|message|>Blue.", "</think>Blue."]
UNOPENED += ["Use `<think>`, or not.</think>Blue.", "The user wants <think> tags. No.\n</think>\nBlue."]


@pytest.mark.parametrize("text", UNOPENED)
def test_closing_mark_alone_ends_the_reasoning(text: str) -> None:
    """The chat template has written the opening mark."""
    assert (part(text).answer, part(text).stray) == ("Blue.", "")


def test_reasoning_about_the_marks_is_reasoning() -> None:
    for thought in ("Are <think> and </think> meant?", "Write `</think>` here.", '"</think>" ends it.'):
        assert part(f"<think>{thought}</think>Use `<think>`.").answer == "Use `<think>`."
    assert part("<think>```\nopen\n</think>Blue.").answer == "Blue.", "code that was begun and left"


def test_answer_in_tags_after_reasoning() -> None:
    assert part("<think>Hm.</think>\n<answer>\nBlue.\n</answer>").answer == "Blue."
    assert part("<answer>Blue.</answer>").answer == "<answer>Blue.</answer>", (
        "without any, it may be what was asked for"
    )


ABOUT = [
    "Write <think> where it thinks, and </think> after it.",
    "Use `<think>` and `</think>`.",
    "Its output looks so:\n```\n<think>\nHm.\n</think>\nBlue.\n```\nOnly the last line is the answer.",
    "The tag is <think>, closed by </think>.",
    'The tag "<think>" opens it, "</think>" ends it.',
    "- <think>: opens it\n- </think>: ends it",
    "1. <think> opens it\n2. </think> ends it",
    "Wrap it in <think>…</think> tags.",
    "The closing tag is </think>.",
    "In R1, <think>reasoning</think> comes first.",
    "The opening tag is <think>\nand the closing tag is </think>\nThat is all.",
    "Some models emit (<think>) first.",
    "The <|channel|> token marks a channel; `<|start|>` begins a turn.",
    "A turn ends with </s>",
    "Mistral has [INST] before a question.",
    "<item>\n<reason>Cheap.</reason>\n<price>5</price>\n</item>",
    "if a<b and c>d: print([x for x in y])",
    "Here is my response: Blue.",
    "My analysis: Blue.",
]


@pytest.mark.parametrize("text", ABOUT)
def test_answer_about_the_marks_is_left_alone(text: str) -> None:
    assert (part(text).reasoning, part(text).answer, part(text).stray) == ("", text, "")
    behind = part(f"<think>Hm.</think>{text}")
    assert (behind.reasoning, behind.answer, behind.stray) == ("Hm.", text, "")


STRAY = ["Blue.<think>Hm", "Blue.\n<think>\nHm.", "Blue.\n[THINK]Hm", "Blue.<|channel|>analysis<|message|>Hm"]
STRAY += [
    "Blue.<|im_end|>\n<|im_start|>user\nAnd green?",
    "<|assistant|>\nBlue.",
    "Blue.</s> [INST] And green?[/INST] No.",
]
STRAY += ["So:\n```\n<think>\nHm.", "Hm:\n```\nx = 1\n</think>\nBlue."]
STRAY += ["<think>Hm.</think>Blue.\n<think>Or green", "Blue.<|im_end|><|endoftext|>Human: And green?"]


@pytest.mark.parametrize("text", STRAY)
def test_what_is_still_split_is_said(text: str) -> None:
    assert part(text).stray


@given(thought=plain, answer=plain, marks=st.sampled_from(MARKS[:4] + MARKS[11:17]))
def test_any_thought_and_any_answer(thought: str, answer: str, marks: tuple[str, str]) -> None:
    found = part(f"{marks[0]}{thought}{marks[1]}{answer}")
    assert (found.reasoning, found.answer, found.stray) == (thought.strip(), answer.strip(), "")


@given(text=anything | scraps)
def test_parting_loses_nothing_it_does_not_name(text: str) -> None:
    found = part(text)
    assert found.reasoning in text
    assert found.answer in text
    assert (found.reasoning, found.answer) == (found.reasoning.strip(), found.answer.strip())
    assert found.stray in text


@given(text=plain)
def test_text_without_marks_is_the_answer(text: str) -> None:
    assert part(text).answer == text.strip()
    assert part(text).reasoning == ""


LONG_RUNS = """
from matrix_align.llm.reasoning import part
parts = [" ", "\\n", "```", "```\\n", "`", "<think>", "</think>", "</think>\\n", "`</think>`", "<think></think>"]
parts += ["<|im_end|>", "[THINK]", "<|channel|>", "<|start|>", "</s> ", "assistantfinal", "<|", "<", "["]
parts += ["<|channel|>analysis<|message|>"]
for part_ in parts:
    run = part_ * 30_000
    for text in (run, f"x{run}x", f"<think>{run}x", f"{run}</think>Blue."):
        part(text)
"""


def test_long_runs_of_one_thing_are_no_trap() -> None:
    """No time grows with the square of a length. A process of its own can be killed; a regular expression can't."""
    subprocess.run([sys.executable, "-c", LONG_RUNS], check=True, timeout=120)
