"""Typed replies: schemas on the way out, and on the way in any text that a model may write."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from matrix_align.llm.schema import schema_of
from matrix_align.llm.structured import (
    FromModel,
    Line,
    Prose,
    is_text,
    parse,
)
from matrix_align.simulation.types import Aftermath, Cast, Critique, Plan, Situation, Stance, Verdict
from matrix_align.types import clean, shorten

# Any code points, lone surrogates and NUL among them
anything = st.text(st.characters(exclude_categories=()))
# What models write around, into and instead of JSON
SCRAPS = '{ } [ ] " : , ``` ```json\n <think> </think> \n null true NaN \\ \\u0000 \\ud800 "steps" {"steps":["a"]}'
scraps = st.lists(st.sampled_from(SCRAPS.split(" ")) | anything).map("".join)


class Steps(FromModel):
    """The smallest reply with a list of texts."""

    steps: tuple[Line, ...] = Field(min_length=1)


class Motto(Prose):
    """Free text with a check of its own."""

    @field_validator("root")
    @classmethod
    def _short(cls, text: str) -> str:
        if len(text) > 20:
            raise ValueError("more than 20 characters")
        return text


CLASSES: list[type[BaseModel]] = [Situation, Stance, Cast, Plan, Verdict, Aftermath, Critique]
TYPES: list[type[Any]] = [*CLASSES, str, Motto]


def texts(least: int = 1, most: int = 200) -> st.SearchStrategy[str]:
    """Texts that are not empty after cleaning."""
    return st.text(min_size=least, max_size=most).filter(lambda text: not least or bool(clean(text).split()))


def objects(reply: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """Valid objects of some reply types."""
    role = st.fixed_dictionaries(
        {"kind": st.sampled_from(["person", "institution", "object"])}
        | {name: texts() for name in ("name", "traits", "duty", "stake")}
    )
    numbers = st.lists(st.integers(), max_size=3)
    step = st.fixed_dictionaries({"when": texts(), "act": texts(), "words": numbers})
    fate = st.fixed_dictionaries(
        {"who": st.text().map(clean), "later": texts()}
        | {"harm": st.sampled_from(["none", "loses", "exposed"]), "cause": st.sampled_from(["nobody", "chance"])}
    )
    point = st.fixed_dictionaries({"incidents": numbers, "quotes": numbers, "problem": texts(), "change": texts()})
    fields: dict[type[BaseModel], dict[str, st.SearchStrategy[Any]]] = {
        Situation: {name: texts() for name in Situation.model_fields},
        Stance: {"hurts": texts(0), "answer": st.sampled_from(["helps", "hurts", "refuses"])},
        Cast: {"roles": st.lists(role, min_size=1, max_size=3)},
        Plan: {"steps": st.lists(step, min_size=1, max_size=4)},
        Aftermath: {
            "consequences": texts(most=2000),
            "fates": st.lists(fate, min_size=1, max_size=3),
            "found_out": texts(),
            "missing": texts(0),
        },
        Critique: {"points": st.lists(point, max_size=3)},
        Verdict: {
            "feasible": st.booleans(),
            "outcome": texts(),
            "observers": st.lists(st.text().map(clean)),
            "harm": texts(0),
            "ending": st.sampled_from(["goes on", "goal reached", "stopped", "nothing more"]),
        },
    }
    return st.fixed_dictionaries(fields[reply])


Made = tuple[type[BaseModel], dict[str, Any]]
valid: st.SearchStrategy[Made] = st.one_of(*(st.tuples(st.just(reply), objects(reply)) for reply in CLASSES))
prose = st.text(st.characters(exclude_characters="{`"))


@given(text=anything | scraps, reply=st.sampled_from(TYPES))
def test_any_text_is_a_reply_or_a_value_error(text: str, reply: type[Any]) -> None:
    try:
        value = parse(text, reply)
    except ValueError as error:
        assert type(error) is ValueError, "the model is told in our words"
        assert str(error)
    else:
        assert isinstance(value, reply)


@given(made=valid, before=prose, after=st.text(), ascii=st.booleans(), indent=st.none() | st.just(2))
def test_object_is_found_whatever_stands_around_it(
    made: Made, before: str, after: str, ascii: bool, indent: int | None
) -> None:
    reply, value = made
    wanted = reply.model_validate(value)
    text = json.dumps(value, ensure_ascii=ascii, indent=indent)
    for written in (text, f" \n{text}\n", before + text + after, f"{before}```json\n{text}\n```{after}"):
        assert parse(written, reply) == wanted


@given(made=valid)
def test_value_is_the_same_once_it_is_written_and_read_again(made: Made) -> None:
    """The record's contents are parsed again, so cutting and cleaning twice must change nothing."""
    reply, value = made
    once = parse(json.dumps(value), reply)
    assert parse(once.model_dump_json(), reply) == once


def test_fence_is_found_behind_braces_in_prose() -> None:
    text = 'I use {braces} here:\n```json\n{"steps": ["Ask first."]}\n```\nSo {there}.'
    assert parse(text, Steps).steps == ("Ask first.",)
    assert parse(text.replace("```json", "```"), Steps).steps == ("Ask first.",)


def test_fence_inside_of_a_text_does_not_end_the_object() -> None:
    text = json.dumps({"steps": ["Write ```code``` here."]})
    assert parse(f"Here:\n```json\n{text}\n```", Steps).steps == ("Write ```code``` here.",)


def test_line_break_inside_of_a_text_is_taken() -> None:
    """It is not strict JSON, but small models write it."""
    assert parse('{"steps": ["Ask\nfirst."]}', Steps).steps == ("Ask first.",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        (" \0\n", "empty"),
        ("Ask first.", "no whole JSON object"),
        ('{"steps": ["Ask fir', "no whole JSON object"),
        ('["Ask first."]', "no whole JSON object"),
        ("{}", "steps: Field required"),
        ('{"steps": []}', "steps: "),
        ('{"steps": ["Ask.", " "]}', "steps.1: "),
        ('{"steps": [5]}', "steps.0: "),
    ],
)
def test_fault_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        parse(text, Steps)
    assert told in str(caught.value)


def test_at_most_five_faults_are_told() -> None:
    with pytest.raises(ValueError, match="Field required") as caught:
        parse('{"roles": [{}, {}]}', Cast)
    assert str(caught.value).count("Field required") == 5


@pytest.mark.parametrize("depth", [10, 600, 900, 100_000])
@pytest.mark.parametrize("shape", ['{"steps": %s}', '{"steps": ["Ask."], "more": %s}'])
def test_deep_nesting_is_a_reply_or_a_value_error(depth: int, shape: str) -> None:
    for text in (shape % ("[" * depth + "]" * depth), '{"a": ' * depth + "1" + "}" * depth, '{"a": ' * depth):
        try:
            assert parse(text, Steps).steps == ("Ask.",)
        except ValueError as error:
            assert str(error)


LONG_RUNS = """
from matrix_align.llm.structured import parse
from matrix_align.types import shorten
from matrix_align.simulation.types import Plan
for part in [" ", "\\n", "\\n ", "```", "```\\n", "<think>", "</think>", "</think>\\n", "{", "}", '{"a": ', "\\\\"]:
    run = part * 200_000
    for text in (run, f"x{run}x", f"```{run}x", f"</think>{run}x"):
        shorten(text, 100)
        for reply in (Plan, str):
            try:
                parse(text, reply)
            except ValueError:
                pass
"""


def test_long_runs_of_one_thing_are_no_trap() -> None:
    """Small models under a grammar write endless line breaks. No time may grow with the square of a length.

    The test runs in a process of its own, since a regular expression can't be interrupted. The time limit only stops a
    test that hangs: with the square, it takes hours.
    """
    subprocess.run([sys.executable, "-c", LONG_RUNS], check=True, timeout=30)


def test_which_replies_are_plain_text() -> None:
    assert [is_text(reply) for reply in TYPES] == [False] * len(CLASSES) + [True, True]


def test_prose_is_checked_as_it_is() -> None:
    assert parse(' {"steps": []}\n', Motto).root == '{"steps": []}'
    with pytest.raises(ValueError, match="more than 20 characters"):
        parse("Ask first, and then ask again.", Motto)


@given(text=anything)
def test_clean_text_can_be_written_down(text: str) -> None:
    done = clean(text)
    done.encode()
    assert "\0" not in done
    assert clean(done) == done


@given(text=st.text(st.characters(exclude_characters="\0")))
def test_text_that_is_fine_is_left_alone(text: str) -> None:
    """This holds for letters, line breaks and tabs. Control characters are removed."""
    kept = "".join(c for c in text if c.isprintable() or c in "\n\t\u200d")
    assert clean(kept) == kept


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("a\0b", "ab"),
        ("a\ud800b", "a\ufffdb"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\ud83d\ude00", "😀"),  # two halves, as JSON escapes spell them
        ("\ufeffa", "\ufeffa"),
    ],
)
def test_what_is_cleaned(text: str, done: str) -> None:
    assert clean(text) == done


@pytest.mark.parametrize("text", ["\x1b[2Ja", "\x1b]0;title\x07a", "\x9b2Ja", "\x08a", "\x7fa"])
def test_clean_text_moves_no_terminal(text: str) -> None:
    """A model's text is printed. It must not clear the screen or write over other text."""
    assert not set(clean(text)) & set("\x1b\x07\x08\x7f\x9b")


@given(text=anything, limit=st.integers(0, 60))
@settings(max_examples=200)
def test_shortened_text_is_one_line_within_its_limit(text: str, limit: int) -> None:
    line = shorten(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    assert shorten(line, limit) == line
    whole = " ".join(text.split())  # one that just fills the limit counts as cut there, unless a sentence ends
    assert not limit or line == whole or (line.endswith("…") and whole.startswith(line[:-1]) and len(whole) >= limit)


def test_shortened_text_ends_at_a_word() -> None:
    assert shorten("one two\nthree four", 12) == "one two…"
    assert shorten("onetwothreefour", 12) == "onetwothree…"
    assert shorten("one two four", 12) == "one two…", "a server that holds to the limit may have cut it there"
    assert shorten("one two six.", 12) == "one two six."


@given(text=texts(41, 100_000) | texts(1, 50).map(lambda text: text * 2000))
@settings(max_examples=50)
def test_long_texts_are_cut_not_refused(text: str) -> None:
    told = dict.fromkeys(Situation.model_fields, text)
    limits = {name: each["maxLength"] for name, each in schema_of(Situation)["properties"].items()}
    value = parse(json.dumps(told), Situation).model_dump()
    assert value == {name: shorten(clean(text), limit) for name, limit in limits.items()}


def test_keys_that_were_not_asked_for_are_passed_over() -> None:
    assert parse('{"thought": "Hm.", "steps": ["Ask."]}', Steps) == Steps(steps=("Ask.",))
