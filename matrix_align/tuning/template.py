"""The base's chat template: how it lays out a row, and whether that is fit to learn from.

A model learns to stop only where the text that it learns from ends a turn, and it answers as it has learned only where
a server opens an answer as that text does. Owns both checks, and the mending of the first. Knows no files and trains
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..types import shorten

Turns = list[dict[str, str]]
PROBE: Turns = [{"role": "user", "content": "Where is it?"}]
MARK = "\ue000"  # an answer that no other text is


@dataclass(frozen=True)
class Layout:
    """A prompt and its answer as one text, in which the answer stands from `start` to before `end`."""

    text: str
    start: int
    end: int


def laid_out(tokenizer: Any, prompt: Turns, answer: str) -> Layout:
    """The answer is told from the template by laying out another one too.

    Raises ValueError for turns that the template refuses, and where it changes the answer.
    """
    text, other = (_rendered(tokenizer, [*prompt, {"role": "assistant", "content": said}]) for said in (answer, MARK))
    start = other.find(MARK)
    end = len(text) - (len(other) - start - len(MARK))
    if start < 0 or text[start:end].strip() != answer.strip():
        raise ValueError("the base's chat template changes the answer")
    return Layout(text, start, end)


def opened(tokenizer: Any, prompt: Turns) -> str:
    """What a server gives the model: the prompt, and the opening of an answer. Raises ValueError."""
    return _rendered(tokenizer, prompt, add_generation_prompt=True)


def _rendered(tokenizer: Any, turns: Turns, **options: bool) -> str:
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **options))
    except Exception as error:  # a template may refuse turns in its own ways
        raise ValueError(f"the base's chat template refuses it: {shorten(str(error), 200)}") from None


def tokens(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text that a template has laid out, which has written the special ones itself."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def stops(tokenizer: Any) -> frozenset[int]:
    """The tokens that can end a turn: the end of text, and all others that stand for no text."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(special | {tokenizer.eos_token_id} - {None})


def mend_end(tokenizer: Any, name: str) -> str:
    """Lets a template that ends a last answer by nothing write the tokenizer's end of text there.

    Returns a line that says so, or nothing. Raises InputError where the tokenizer has no end of text. `name` is the
    base's.
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
            f"--base {name}: its chat template ends an answer by nothing and its tokenizer has no eos_token, so the "
            "tuned model would never stop; give it a template that ends a turn, or an eos_token"
        )
    last = "not add_generation_prompt and messages[-1]['role'] == 'assistant'"
    mended = "{% if " + last + " %}{{ " + repr(end) + " }}{% endif %}"
    tokenizer.chat_template = tokenizer.get_chat_template() + mended
    return f"the chat template of {name} ends an answer by nothing; answers to learn from end in {end} here"


def unlike_serving(tokenizer: Any, prompt: Turns, layout: Layout) -> str:
    """A line that says how a served model is asked otherwise than this text is learned, or nothing. Raises ValueError.

    Compared are tokens: the last letters of an opening and the first of an answer may be one token.
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
            "server, and not in the text that is learned from, so the tuned model is asked otherwise than it learned; "
            "give the base a chat_template whose add_generation_prompt opens answers as its turns do"
        )
    if inserted := layout.text[len(served) : layout.start].strip():
        return (
            f"the base's chat template writes {_shown(inserted)} before an answer, and the tuned model learns to; "
            "serve it with a prompt that ends so (for templates that think, "
            '"chat_template_kwargs": {"enable_thinking": false})'
        )
    return ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")
