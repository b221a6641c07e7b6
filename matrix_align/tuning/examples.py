"""The examples to learn from, as `export` writes them. Checks every row before the training starts.

Owns what each method needs: a conversation whose last turn is the answer to learn (SFT), or a preference (DPO). `data`
reads the turns. A row that can't be used is reported by file and line. The base's chat template and tokenizer decide
how many tokens a row has. Knows no trainer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..data.files import raw_rows
from ..data.preferences import preference_of
from ..data.rows import Limit
from ..data.turns import CONVERSATIONS, fields_of, messages, turns_in
from ..errors import InputError
from ..types import counted
from .base import named, tokenizer
from .template import Turns, laid_out, opened, stops, tokens, unlike_serving

Method = Literal["sft", "dpo"]
SHOWN = 5  # rows named one by one


@dataclass(frozen=True)
class Example:
    """One row to learn from. `rejected` is empty for SFT.

    `longest` is the number of tokens of its longest text, prompt and answer together. `all_tokens` counts all texts.
    """

    place: str
    prompt: Turns
    chosen: Turns
    rejected: Turns
    longest: int
    all_tokens: int

    def content(self, method: Method) -> dict[str, Turns]:
        """The row in TRL's form. Since `completion` is separate, the loss is only on the answer."""
        if method == "sft":
            return {"prompt": self.prompt, "completion": self.chosen}
        return {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}


@dataclass
class Examples:
    """The usable rows of one file, and the faults of its other rows.

    `unlike` describes the first difference between the prompt of a served model and the text of a row. It is empty if
    there is none.
    """

    path: Path
    rows: list[Example] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    cut: int = 0
    dropped: int = 0
    unlike: str = ""

    @property
    def digest(self) -> str:
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def summary(self) -> Iterator[str]:
        """Lines that say which rows are used and which are not."""
        yield f"{self.path}: {counted(len(self.rows), 'row')}"
        yield from self.faults[:SHOWN]
        if len(self.faults) > SHOWN:
            yield f"… and {counted(len(self.faults) - SHOWN, 'more row')} that can't be used"
        if self.dropped:
            are = "row is" if self.dropped == 1 else "rows are"
            keeps = "--too-long cut, or a larger max_length, keeps"
            yield f"{self.dropped:,} {are} too long and left out; {keeps} {'it' if self.dropped == 1 else 'them'}"
        if self.cut:
            does = "row is too long and loses its end" if self.cut == 1 else "rows are too long and lose their ends"
            yield f"{self.cut:,} {does}"


def examples(path: Path, method: Method, tokenizer: Any, limit: int, too_long: Literal["cut", "drop"]) -> Examples:
    """The examples in a .jsonl, .json or .parquet file. `limit` is the most tokens of a text.

    Raises InputError if the file holds no usable row.
    """
    collected, ends = Examples(path), stops(tokenizer)
    for number, row in raw_rows(path):
        place = f"{path}:{number}"
        try:
            prompt, chosen, rejected = _checked(row, method)
            lengths = [_length(tokenizer, prompt + answer, ends, collected) for answer in (chosen, rejected) if answer]
            if max(lengths) > limit:
                prompt_length = len(tokens(tokenizer, opened(tokenizer, prompt)))
                if too_long == "drop" or prompt_length >= limit:
                    collected.dropped += 1  # a row with only its prompt left teaches nothing
                    continue
                collected.cut += 1
        except ValueError as error:
            collected.faults.append(f"{place}: {error}")
            continue
        lengths = [min(length, limit) for length in lengths]
        collected.rows.append(Example(place, prompt, chosen, rejected, max(lengths), sum(lengths)))
    if not collected.rows:
        why = f"; the first: {collected.faults[0]}" if collected.faults else ""
        why = why or (f"; all {collected.dropped:,} are longer than {limit:,} tokens" if collected.dropped else "")
        raise InputError(f"{path} holds no row to learn from{why}; `matrix-align export --format {method}` writes some")
    return collected


def limit_of(base: str, tokens_at_most: int) -> Limit:
    """The limit of a tuning of `base`, so that an export leaves out the same rows. Raises InputError."""
    model = named(base)
    reader = tokenizer(model)

    def length(chat: Turns) -> int:
        *prompt, answer = chat
        return len(tokens(reader, laid_out(reader, prompt, answer["content"]).text))

    return Limit(tokens_at_most, length, model.name)


def overlap(train: Examples, test: Examples) -> list[str]:
    """The places of rows in `test` whose prompts are also in `train`."""
    trained = {str(row.prompt) for row in train.rows}
    return [row.place for row in test.rows if str(row.prompt) in trained]


def _checked(row: Any, method: Method) -> tuple[Turns, Turns, Turns]:
    if isinstance(row, Exception):
        raise ValueError(str(row))
    if not isinstance(row, dict):
        raise ValueError(f"a row is an object, not {type(row).__name__}")
    fields = fields_of(row)
    name = next((field for field in CONVERSATIONS if fields.get(field)), "messages")
    if method == "sft" and name not in fields and "chosen" in fields:
        raise ValueError("no messages; rows of prompt, chosen and rejected go with --method dpo")
    if method == "dpo" and name in fields and "chosen" not in fields:
        raise ValueError("no prompt, chosen and rejected; rows of messages go with --method sft")
    if method == "sft":
        turns = _turns(fields, name)
        if len(turns) < 2 or turns[-1]["role"] != "assistant":
            raise ValueError(f"{name} does not end in an assistant's turn, the answer to learn")
        return turns[:-1], turns[-1:], []
    pair = preference_of(row)
    chosen, rejected = ([{"role": "assistant", "content": reply}] for reply in (pair.chosen, pair.rejected))
    return [message.model_dump() for message in pair.before], chosen, rejected


def _turns(row: dict[str, Any], name: str) -> Turns:
    turns = turns_in(row.get(name), name)
    if not turns:
        raise ValueError(f"no {name}, a list of turns; it has {', '.join(map(str, row)) or 'nothing'}")
    if empty := next((turn for turn in turns if not turn.content.strip()), None):
        raise ValueError(f"{name} holds an empty turn of the {empty.role}")
    return [message.model_dump() for message in messages(turns, name)]


def _length(tokenizer: Any, turns: Turns, ends: frozenset[int], collected: Examples) -> int:
    """The number of tokens of a prompt and its answer. Raises ValueError if a model can't learn from them."""
    *prompt, answer = turns
    layout = laid_out(tokenizer, prompt, answer["content"])
    if ends.isdisjoint(tokens(tokenizer, layout.text[layout.end :])):
        raise ValueError("the base's chat template writes no end of turn after the answer")
    collected.unlike = collected.unlike or unlike_serving(tokenizer, prompt, layout)
    return len(tokens(tokenizer, layout.text))
