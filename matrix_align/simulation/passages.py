"""The passages of a response: its sentences and lines, numbered, so that others can refer to its words exactly.

A reply that cites a passage by its number can't misquote it, and costs a token where a quotation costs thirty. Knows no
model.
"""

from __future__ import annotations

import re

MOST = 16  # passages of one response; neighbours of a longer one are taken together
SHORT = 10  # characters; "1." and "Dear Ms." are no sentences of their own

# After a sentence's end, with its closing quotes and brackets.
END = re.compile(r"(?<=[.!?…؟۔।॥።։။])[\"'”’»)\]*_]*\s+|(?<=[。！？])[”’」』）]*")

# The end of a sentence, with its closing quotes and brackets, or of a line that announces nothing.
WHOLE = re.compile(r"[.!?…؟۔।॥։።][\"'”’»)\]*_]*(?=\s|$)|[。！？][”’」』）]*|(?<=[^\s:：])(?=\n)")


def passages(text: str) -> tuple[str, ...]:
    """The sentences of the lines of `text`, in order, without empty ones; at most `MOST`."""
    found = [sentence for line in text.splitlines() for sentence in _sentences(line.strip()) if sentence]
    group = -(-len(found) // MOST)
    return tuple(" ".join(found[place : place + group]) for place in range(0, len(found), group)) if found else ()


def numbered(text: str) -> str:
    """The passages of `text`, each in a line behind its number: '(1) Freeze the coat.'"""
    return "\n".join(f"({number}) {passage}" for number, passage in enumerate(passages(text), start=1))


def whole_sentences(text: str) -> str:
    """A text that was cut off, up to the end of its last whole sentence or line. Empty if there is none."""
    ends = [match.end() for match in WHOLE.finditer(text)]
    return text[: ends[-1]].strip() if ends else ""


def _sentences(line: str) -> list[str]:
    """The sentences of one line, the short ones together with what follows."""
    ends = [0]
    for found in END.finditer(line):
        if found.end() - ends[-1] > SHORT or not line[ends[-1] : found.end()].isascii():
            ends.append(found.end())
    return [line[start:end].strip() for start, end in zip(ends, [*ends[1:], len(line)], strict=True)]
