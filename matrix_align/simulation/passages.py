"""The passages of a response: its sentences and lines, numbered, so that others can refer to its words exactly.

A reply that cites a passage by its number can't misquote it, and costs a token where a quotation costs thirty. Knows no
model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

MOST = 16  # passages of one response; neighbours of a longer one are taken together
HEADING = re.compile(r"#+ .*|[-*_]{3,}|\*\*[^*]+\*\*:?|__[^_]+__:?")  # a line of Markdown that announces what follows
SHORT = 10  # characters; "1." and "Dear Ms." are no sentences of their own

# After a sentence's end, with its closing quotes and brackets.
END = re.compile(r"(?<=[.!?…؟۔।॥።։။])[\"'”’»)\]*_]*\s+|(?<=[。！？])[”’」』）]*")

# The end of a sentence, with its closing quotes and brackets, or of a line that announces nothing.
WHOLE = re.compile(r"[.!?…؟۔।॥։።][\"'”’»)\]*_]*(?=\s|$)|[。！？][”’」』）]*|(?<=[^\s:：])(?=\n)")


def passages(text: str) -> tuple[str, ...]:
    """The sentences of the lines of `text`, in order, without empty ones; at most `MOST`.

    In a longer text, neighbours of one line are taken together first, so that a passage is about one thing, and lines
    only if there are more than `MOST`.
    """
    lines = [sentences for line in _lines(text) if (sentences := [each for each in _sentences(line) if each])]
    if len(lines) > MOST:
        return tuple(_joined([" ".join(sentences) for sentences in lines], -(-len(lines) // MOST)))
    together = -(-sum(map(len, lines)) // MOST)  # fewer neighbours would give too many passages
    while sum(-(-len(sentences) // together) for sentences in lines) > MOST:
        together += 1
    return tuple(passage for sentences in lines for passage in _joined(sentences, together))


def _joined(parts: Sequence[str], together: int) -> list[str]:
    """The parts in groups of so many neighbours."""
    return [" ".join(parts[place : place + together]) for place in range(0, len(parts), together)]


def _lines(text: str) -> Iterator[str]:
    """The lines of `text`, a heading together with the line that it announces."""
    heading = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if HEADING.fullmatch(line):
            heading = f"{heading} {line}".strip()
        else:
            yield f"{heading} {line}".strip()
            heading = ""
    if heading:
        yield heading


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
