"""Training data as `export` writes it, checked row by row before anything is trained.

Owns the two forms: `messages` whose last turn is the answer to be learned (SFT), and `prompt`, `chosen`, `rejected`
(DPO). What can't be used is told by file and line. Knows no trainer; lengths are counted by the base's own template.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..data.files import raw_rows
from ..data.turns import messages, turns_in
from ..errors import InputError

Method = Literal["sft", "dpo"]
Turns = list[dict[str, str]]
SHOWN = 5  # rows named one by one


@dataclass(frozen=True)
class Row:
    """One row to learn from. `rejected` is empty for SFT. `tokens` is the longest text of it, prompt and answer, `read`
    all that is read of it.
    """

    place: str
    prompt: Turns
    chosen: Turns
    rejected: Turns
    tokens: int
    read: int

    def content(self, method: Method) -> dict[str, Turns]:
        """As TRL takes it; with `completion` apart, the loss is on the answer only."""
        if method == "sft":
            return {"prompt": self.prompt, "completion": self.chosen}
        return {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}


@dataclass
class Data:
    """The rows of one file that can be used, and what was wrong with the others."""

    path: Path
    rows: list[Row] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    cut: int = 0
    dropped: int = 0

    @property
    def digest(self) -> str:
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def told(self) -> Iterator[str]:
        """Lines that say what is used and what is not."""
        yield f"{self.path}: {len(self.rows):,} rows"
        yield from self.faults[:SHOWN]
        if len(self.faults) > SHOWN:
            yield f"… and {len(self.faults) - SHOWN:,} more rows that can't be used"
        if self.dropped:
            yield f"{self.dropped:,} rows are too long and left out; --too-long cut, or a larger max_length, keeps them"
        if self.cut:
            yield f"{self.cut:,} rows are too long and lose their ends"


def load(path: Path, method: Method, tokenizer: Any, longest: int, too_long: Literal["cut", "drop"]) -> Data:
    """The rows of a .jsonl, .json or .parquet file. Raises InputError where none can be used."""
    data = Data(path)
    for number, row in raw_rows(path):
        place = f"{path}:{number}"
        try:
            prompt, chosen, rejected = _checked(row, method)
            lengths = [_length(tokenizer, prompt + answer) for answer in (chosen, rejected) if answer]
        except ValueError as error:
            data.faults.append(f"{place}: {error}")
            continue
        if max(lengths) > longest:
            if too_long == "drop" or _length(tokenizer, prompt, opened=True) >= longest:
                data.dropped += 1  # a row of which only the prompt is left teaches nothing
                continue
            data.cut += 1
        lengths = [min(length, longest) for length in lengths]
        data.rows.append(Row(place, prompt, chosen, rejected, max(lengths), sum(lengths)))
    if not data.rows:
        why = f"; the first: {data.faults[0]}" if data.faults else ""
        why = why or (f"; all {data.dropped:,} are longer than {longest:,} tokens" if data.dropped else "")
        raise InputError(f"{path} holds no row to learn from{why}; `matrix-align export --format {method}` writes some")
    return data


def overlap(train: Data, test: Data) -> list[str]:
    """Places in `test` whose prompts are in `train` too."""
    known = {str(row.prompt) for row in train.rows}
    return [row.place for row in test.rows if str(row.prompt) in known]


def _checked(row: Any, method: Method) -> tuple[Turns, Turns, Turns]:
    if isinstance(row, Exception):
        raise ValueError(str(row))
    if not isinstance(row, dict):
        raise ValueError(f"a row is an object, not {type(row).__name__}")
    if method == "sft" and "messages" not in row and "chosen" in row:
        raise ValueError("no messages; rows of prompt, chosen and rejected go with --method dpo")
    if method == "dpo" and "chosen" not in row and "messages" in row:
        raise ValueError("no prompt, chosen and rejected; rows of messages go with --method sft")
    if method == "sft":
        turns = _turns(row, "messages")
        if len(turns) < 2 or turns[-1]["role"] != "assistant":
            raise ValueError("messages does not end in an assistant's turn, the answer to be learned")
        return turns[:-1], turns[-1:], []
    prompt, chosen, rejected = (_turns(row, name) for name in ("prompt", "chosen", "rejected"))
    if chosen == rejected:
        raise ValueError("chosen and rejected are the same")
    return prompt, chosen, rejected


def _turns(row: dict[str, Any], name: str) -> Turns:
    turns = turns_in(row.get(name), name)
    if not turns:
        raise ValueError(f"no {name}, a list of turns; it has {', '.join(map(str, row)) or 'nothing'}")
    if empty := next((turn for turn in turns if not turn.content.strip()), None):
        raise ValueError(f"{name} holds an empty turn of the {empty.role}")
    return [message.model_dump() for message in messages(turns, name)]


def _length(tokenizer: Any, turns: Turns, opened: bool = False) -> int:
    try:
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=opened, tokenize=True, return_dict=True)
    except Exception as error:  # a template may refuse turns in its own ways
        raise ValueError(f"the base's chat template refuses it: {error}") from None
    return len(ids["input_ids"])
