"""The base's chat template: how it lays out a row, and whether a model can learn from that text.

A model learns to stop only if the text ends its turns. It answers as it learned only if a server opens an answer in the
same way as the text. Owns both checks, and the repair of a template without an end of turn. Knows no files and trains
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..types import shorten

Turns = list[dict[str, str]]
PROBE: Turns = [{"role": "user", "content": "Where is it?"}]
MARK = "\ue000"  # stands in for an answer; occurs in no other text


@dataclass(frozen=True)
class Layout:
    """A prompt and its answer as one text. The answer is `text[start:end]`."""

    text: str
    start: int
    end: int


def laid_out(tokenizer: Any, prompt: Turns, answer: str) -> Layout:
    """The prompt and the answer, laid out by the template. Finds the answer by laying out MARK in its place too.

    Raises ValueError if the template refuses the turns or changes the answer.
    """
    text, other = (_rendered(tokenizer, [*prompt, {"role": "assistant", "content": last}]) for last in (answer, MARK))
    start = other.find(MARK)
    end = len(text) - (len(other) - start - len(MARK))
    if start < 0 or text[start:end].strip() != answer.strip():
        raise ValueError("the base's chat template changes the answer")
    return Layout(text, start, end)


def opened(tokenizer: Any, prompt: Turns) -> str:
    """The text that a server gives the model: the prompt and the opening of an answer. Raises ValueError."""
    return _rendered(tokenizer, prompt, add_generation_prompt=True)


def _rendered(tokenizer: Any, turns: Turns, **options: bool) -> str:
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **options))
    except Exception as error:  # each template refuses turns with errors of its own
        raise ValueError(f"the base's chat template refuses it: {shorten(str(error), 200)}") from None


def tokens(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text that a template laid out. The text already holds the special tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def stops(tokenizer: Any) -> frozenset[int]:
    """The tokens that can end a turn: the end of text, and all other special tokens."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(special | {tokenizer.eos_token_id} - {None})


def mend_end(tokenizer: Any, name: str) -> str:
    """Makes a template that does not mark the end of the last answer write the tokenizer's end of text there.

    Returns a line that says so, or an empty text if the template needs no change. `name` is the base's. Raises
    InputError if the tokenizer has no end of text, or if the template refuses a question and an answer.
    """
    try:
        layout = laid_out(tokenizer, PROBE, "It is here.")
    except ValueError as error:
        raise InputError(f"--base {name}: {error}; take a model made for chats") from None
    if not stops(tokenizer).isdisjoint(tokens(tokenizer, layout.text[layout.end :])):
        return ""
    end = tokenizer.eos_token
    if not end or tokens(tokenizer, end) != [tokenizer.eos_token_id]:
        raise InputError(
            f"--base {name}: its chat template marks no end of an answer and its tokenizer has no eos_token, so the "
            "tuned model would never stop; give it a template that ends a turn, or an eos_token"
        )
    last = "not add_generation_prompt and messages[-1]['role'] == 'assistant'"
    mended = "{% if " + last + " %}{{ " + repr(end) + " }}{% endif %}"
    tokenizer.chat_template = tokenizer.get_chat_template() + mended
    return f"the chat template of {name} marks no end of an answer; in this tuning, answers end in {end}"


def unlike_serving(tokenizer: Any, prompt: Turns, layout: Layout) -> str:
    """A line on how a served model's prompt differs from the text it learns, or an empty text. Raises ValueError.

    Compares tokens, because the last letters of an opening and the first of an answer may be one token.
    """
    served = opened(tokenizer, prompt)
    served_tokens, learned = tokens(tokenizer, served), tokens(tokenizer, layout.text)
    alike = 0
    for one, other in zip(served_tokens, learned, strict=False):
        if one != other:
            break
        alike += 1
    if alike < len(served_tokens):
        return (
            f"the base's chat template opens an answer with {_shown(tokenizer.decode(served_tokens[alike:]))} for a "
            "server, but not in the training text, so the tuned model would see prompts unlike those it learned from; "
            "give the base a chat_template whose add_generation_prompt opens answers as its turns do"
        )
    if inserted := layout.text[len(served) : layout.start].strip():
        return (
            f"the base's chat template writes {_shown(inserted)} before an answer, and the tuned model learns to; "
            "serve it with a prompt that ends in the same way (for templates that think, "
            '"chat_template_kwargs": {"enable_thinking": false})'
        )
    return ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")
