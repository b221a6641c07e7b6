"""What a reasoning model wrote before its answer, told apart from the answer where a server sends both as one text.

Owns the marks by which models set their reasoning off: `KINDS`, one row a family. A text may also be *about* these
marks: one that stands in code, in quotes or in the middle of a sentence separates nothing. Knows no server.

Sources: the models' chat templates, and the reasoning parsers of vLLM, SGLang and llama.cpp.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple


class Kind(NamedTuple):
    """One family's marks, as regular expressions: before its reasoning, and between that and the answer.

    `sign`: a text without it holds none of them. `pair`: the second is one only after the first, since it is ordinary
    words; the first then stands at the text's beginning.
    """

    sign: str
    opening: str
    closing: str
    pair: bool = False


THINK = r"(?:\w{1,8}:)?(?:think(?:ing)?|thought|reasoning|reflection|inner_monologue)"
KINDS = {
    # DeepSeek-R1, Qwen3, GLM, Hunyuan, EXAONE, Reka, Seed-OSS (<seed:think>), MiniMax (<mm:think>), and models tuned so
    "tags": Kind("<", rf"(?i:<{THINK}>)", rf"(?i:</{THINK}>)"),
    # The same with words that other texts have as tags, too
    "words": Kind("<", r"(?i:<(?:reason|thoughts|scratchpad)>)", r"(?i:</(?:reason|thoughts|scratchpad)>)", True),
    # gpt-oss: OpenAI's harmony channels. The final channel is the answer, whatever came before.
    "harmony": Kind(
        "<|channel|>",
        r"(?:<\|start\|>\w+)?<\|channel\|>(?:analysis|commentary)[^<\n]{0,80}(?:<\|constrain\|>\w+)?<\|message\|>",
        r"(?:<\|end\|>)?(?:<\|start\|>\w+)?<\|channel\|>final ?(?:<\|constrain\|>\w+)?<\|message\|>",
    ),
    # The same where the server has dropped the special tokens
    "harmony_in_words": Kind("assistantfinal", r"analysis", r"assistantfinal", pair=True),
    # Gemma 4
    "channel": Kind("channel", r"<\|channel>(?:thought|analysis)?", r"<channel\|>"),
    # Sky-T1, OpenThoughts
    "tokens": Kind(
        "<|",
        r"<\|(?:begin_of_|start_of_)?(?:think|thinking|thought|reasoning)(?:_start)?\|>",
        r"<\|(?:/|end_of_|end_)(?:think|thinking|thought|reasoning)\|>\s{0,9}(?:<\|begin_of_solution\|>)?"
        r"|<\|(?:think|thinking)_end\|>|<\|begin_of_solution\|>",
    ),
    # Cohere Command A Reasoning
    "cohere": Kind(
        "<|",
        r"<\|START_THINKING\|>",
        r"<\|END_THINKING\|>\s{0,9}(?:<\|START_(?:RESPONSE|TEXT)\|>)?|<\|START_(?:RESPONSE|TEXT)\|>",
    ),
    # Magistral
    "mistral": Kind("THINK]", r"\[THINK\]", r"\[/THINK\]"),
    # Kimi-VL, Kimi-Dev
    "kimi": Kind("think▷", r"◁think▷", r"◁/think▷"),
    # Granite 3.2, 3.3
    "granite": Kind(
        "my response:",
        r"Here(?: is|'s) my (?:thought|reasoning) process:",
        r"Here(?: is|'s) my response:",
        True,
    ),
    # Apriel
    "apriel": Kind("[BEGIN FINAL", r"Here are my reasoning steps:", r"\[BEGIN FINAL RESPONSE\]", True),
}

# What a turn ends with; a server that shows it at the end of a text has shown no more than that.
ENDS = (
    *("<|im_end|>", "<|eot_id|>", "<|end|>", "<|return|>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "</s>"),
    *("<end_of_turn>", "<|END_RESPONSE|>", "<|END_TEXT|>", "<|END_OF_TURN_TOKEN|>", "<|end_of_solution|>"),
    *("[END FINAL RESPONSE]", "<｜end▁of▁sentence｜>", "<|eot|>", "<|end_of_turn|>"),
)
_SPECIAL = r"<\|/?[A-Za-z][\w /]{0,40}\|>|<｜[^｜\n]{1,40}｜>|<(?:start|end)_of_turn>|\[/?INST\]"
_WRAPPED = re.compile(r"<(answer|response|final_answer)>(.*)</\1>", re.DOTALL)  # the answer in tags, after reasoning

_SIGNS = tuple(
    dict.fromkeys(["<", "INST]", "FINAL RESPONSE]", *(kind.sign for kind in KINDS.values() if kind.sign[0] != "<")])
)
_NEAR = 200  # characters of its line that are looked at on each side of a mark
_SENTENCE_END = tuple(".!?…。！？")
_BULLET = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "「": "」", "(": ")"}
_GOES_ON = set(".,;:!?)/…'\"`")  # what a sentence goes on with behind a word, beside a small letter


@dataclass(frozen=True)
class Parted:
    """A text in its parts. `stray`: a mark that is left in the answer, so that what is the answer is not known."""

    reasoning: str
    answer: str
    stray: str = ""


def part(text: str) -> Parted:
    """What a model wrote into one text, as its reasoning and its answer: what comes after the last reasoning.

    Reasoning that begins the text and is never ended makes all of it reasoning: the reply was cut. A mark that opens
    reasoning after other text and is never followed by one that ends it is a stray, as is any other special token.
    """
    if not any(sign in text for sign in _SIGNS):
        return Parted("", text.strip())
    kinds = tuple(name for name, kind in KINDS.items() if kind.sign in text)
    end = _end(text)
    scan = _Scan(text)
    for found in _marks(kinds).finditer(text, 0, end):
        scan.take(found)
    if scan.opened and scan.begins(scan.opened):
        if not scan.last_closing:
            return Parted(text[scan.opened.end() : end].strip(), "")
        # All that could end it stand in code or sentences: of the thought, then, rather than of the answer.
        rest = part(text[scan.last_closing.end() : end])
        return Parted(text[scan.opened.end() : scan.last_closing.start()].strip(), rest.answer, rest.stray)
    answer = text[scan.answer : end].strip()
    if scan.answer and (wrapped := _WRAPPED.fullmatch(answer)):
        answer = wrapped.group(2).strip()
    stray = scan.opened.group() if scan.opened else scan.stray or scan.in_open_code
    return Parted(text[scan.thought : scan.thought_end].strip(), answer, stray)


@lru_cache(maxsize=64)
def _marks(kinds: tuple[str, ...]) -> re.Pattern[str]:
    """All that `part` looks at, each a group of its own name."""
    groups = ["(?P<line>\\n)", r"(?P<fence>(?m:^)[ \t]{0,12}(?:```|~~~))", "(?P<tick>`+)"]
    for name in kinds:
        groups += [f"(?P<o_{name}>{KINDS[name].opening})", f"(?P<c_{name}>{KINDS[name].closing})"]
    return re.compile("|".join([*groups, f"(?P<special>{_SPECIAL})"]))


class _Scan:
    """Reads a text's marks from left to right, and holds where its answer begins."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.answer = 0  # where it begins
        self.thought = self.thought_end = 0
        self.opened: re.Match[str] | None = None  # what opened reasoning that has not ended
        self.last_closing: re.Match[str] | None = None  # since then, whatever it stands in
        self.stray = ""
        self._ended()

    def _ended(self) -> None:
        """Before the text, and behind reasoning: nothing is open, and marks have not been spoken of."""
        self.opened = self.last_closing = None
        self.stray = ""
        self.in_open_code = ""  # the first mark in code that has not ended: it may be the thought's, cut short
        self._fenced = self._ticked = False
        self._spoken_of = self._spoken_of_here = False  # in the answer so far, and in its line

    def begins(self, mark: re.Match[str]) -> bool:
        """Whether a mark stands before all else, or before all else behind the reasoning that came earlier."""
        return not self.text[self.answer : mark.start()].strip()

    def take(self, found: re.Match[str]) -> None:
        which, _, name = str(found.lastgroup).partition("_")
        if which == "line":
            self._ticked = self._spoken_of_here = False
        elif which == "fence":
            self._fenced, self.in_open_code = not self._fenced, ""
        elif which == "tick":
            self._ticked = not self._ticked
        elif which == "o":
            self._open(found, KINDS[name])
        elif which == "c":
            self._close(found, KINDS[name])
        elif not self.stray and not self._in_a_sentence(found):
            self.stray = found.group()

    def _open(self, found: re.Match[str], kind: Kind) -> None:
        if self.opened or (kind.pair and not self.begins(found)):
            return
        if self._in_a_sentence(found):
            self._spoken_of = True
            self._spoken_of_here = not (self._fenced or self._ticked)  # code speaks of what closes it in code, too
        elif self.begins(found) or not self._goes_on(found):
            self.opened, self.last_closing = found, None
            if not self.answer and self.begins(found):
                self.thought = found.end()

    def _close(self, found: re.Match[str], kind: Kind) -> None:
        if kind.pair and not (self.opened and KINDS[str(self.opened.lastgroup)[2:]] is kind):
            return
        self.last_closing = found
        if self.opened:
            begun = self.text[max(0, self.opened.start() - _NEAR) : self.opened.start()]
            within = self.text[self.opened.start() : self.opened.start() + _NEAR].partition(found.group())
            one_line = bool(within[1]) and "\n" not in within[0]
            midway = begun[-1:] in (" ", "\t") and not begun.rstrip().endswith(_SENTENCE_END)
            if midway and one_line and self._goes_on(found):
                self.opened, self._spoken_of = None, True  # both in one sentence: an example
                return
        elif self._spoken_of_here:
            return
        if not self._in_a_sentence(found, closing=True):
            self.answer, self.thought_end = found.end(), found.start()
            self._ended()

    def _in_a_sentence(self, found: re.Match[str], closing: bool = False) -> bool:
        """Whether a mark is only spoken of: it stands in code, in quotes, or in the middle of a sentence."""
        if self._fenced:
            self.in_open_code = self.in_open_code or found.group()
        if self._fenced or self._ticked:
            return True
        before = self.text[max(0, found.start() - _NEAR) : found.start()].rpartition("\n")[2]
        after = self.text[found.end() : found.end() + _NEAR].partition("\n")[0]
        if not before.strip():
            return False
        if after and _QUOTES.get(before[-1]) == after[0]:
            return True
        ended = before.rstrip().endswith(_SENTENCE_END) and not _BULLET.fullmatch(before)
        if ended or not before[-1].isspace():
            return False
        if not after.strip():
            return self._spoken_of or not closing
        return self._goes_on(found)

    def _goes_on(self, found: re.Match[str]) -> bool:
        """Whether the line goes on behind a mark as a sentence does behind a word."""
        after = self.text[found.end() : found.end() + _NEAR].partition("\n")[0]
        first = after.lstrip()[:1]
        return first in _GOES_ON if first and not first.isalpha() else after[:1].isspace() and first.islower()


def _end(text: str) -> int:
    """Where a text ends without what its turn ended with; one that is spoken of ('it ends with </s>') stays."""
    end = len(text)
    while True:
        while end and text[end - 1].isspace():
            end -= 1
        shown = next((mark for mark in ENDS if text.endswith(mark, 0, end)), None)
        if not shown:
            return end
        before = text[max(0, end - len(shown) - _NEAR) : end - len(shown)]
        if before[-1:] in (" ", "\t") and not before.rstrip().endswith((*_SENTENCE_END, *ENDS)):
            return end
        end -= len(shown)
