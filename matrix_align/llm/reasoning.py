"""Separates a model's reasoning from its answer, where a server sends both as one text.

Owns the marks that models put around their reasoning: `KINDS`, one row for each family of models. A text may also be
*about* these marks. A mark in code, in quotes or in the middle of a sentence separates nothing. Knows no server.

Sources: the models' chat templates, and the reasoning parsers of vLLM, SGLang and llama.cpp.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple


class Kind(NamedTuple):
    """One family's marks, as regular expressions: `opening` before the reasoning, `closing` between it and the answer.

    A text without `sign` holds none of these marks. With `pair`, `closing` counts only after `opening`, because it is
    ordinary words, and `opening` must begin the text.
    """

    sign: str
    opening: str
    closing: str
    pair: bool = False


THINK = r"(?:\w{1,8}:)?(?:think(?:ing)?|thought|reasoning|reflection|inner_monologue)"
KINDS = {
    # DeepSeek-R1, Qwen3, GLM, Hunyuan, EXAONE, Reka, Seed-OSS (<seed:think>), MiniMax (<mm:think>), and tuned models
    "tags": Kind("<", rf"(?i:<{THINK}>)", rf"(?i:</{THINK}>)"),
    # The same, with words that are tags in other texts too
    "words": Kind("<", r"(?i:<(?:reason|thoughts|scratchpad)>)", r"(?i:</(?:reason|thoughts|scratchpad)>)", True),
    # gpt-oss: OpenAI's harmony channels. The final channel is the answer, whatever came before.
    "harmony": Kind(
        "<|channel|>",
        r"(?:<\|start\|>\w+)?<\|channel\|>(?:analysis|commentary)[^<\n]{0,80}(?:<\|constrain\|>\w+)?<\|message\|>",
        r"(?:<\|end\|>)?(?:<\|start\|>\w+)?<\|channel\|>final ?(?:<\|constrain\|>\w+)?<\|message\|>",
    ),
    # The same, from a server that drops the special tokens
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

# The marks that end a turn. At the end of a text such a mark means only that the server has shown it.
ENDS = (
    *("<|im_end|>", "<|eot_id|>", "<|end|>", "<|return|>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "</s>"),
    *("<end_of_turn>", "<|END_RESPONSE|>", "<|END_TEXT|>", "<|END_OF_TURN_TOKEN|>", "<|end_of_solution|>"),
    *("[END FINAL RESPONSE]", "<｜end▁of▁sentence｜>", "<|eot|>", "<|end_of_turn|>"),
)
_SPECIAL = r"<\|/?[A-Za-z][\w /]{0,40}\|>|<｜[^｜\n]{1,40}｜>|<(?:start|end)_of_turn>|\[/?INST\]"
_WRAPPED = re.compile(r"<(answer|response|final_answer)>(.*)</\1>", re.DOTALL)  # an answer in tags, after the reasoning

_SIGNS = tuple(
    dict.fromkeys(["<", "INST]", "FINAL RESPONSE]", *(kind.sign for kind in KINDS.values() if kind.sign[0] != "<")])
)
_NEAR = 200  # most characters of its line that are examined on each side of a mark
_SENTENCE_END = tuple(".!?…。！？")
_BULLET = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+")
# For texts that are still being written: words that open reasoning, and the signs that a mark begins and ends with
_WORDS_FIRST = (
    *("analysis", "Here is my thought process:", "Here is my reasoning process:", "Here are my reasoning steps:"),
    *("Here's my thought process:", "Here's my reasoning process:"),
)
_BEGINS, _CLOSES, _LONGEST = "<[◁", set(">]▷"), 60
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "「": "」", "(": ")"}
_GOES_ON = set(".,;:!?)/…'\"`")  # what a sentence may continue with after a word, besides a lower-case letter


@dataclass(frozen=True)
class Parted:
    """A text in its parts. `stray` is a mark left in the answer; with one, the answer's extent is not known."""

    reasoning: str
    answer: str
    stray: str = ""


def part(text: str) -> Parted:
    """Splits a model's text into its reasoning and its answer. The answer follows the last reasoning.

    If reasoning begins the text and never ends, the whole text is reasoning: the reply was cut. If reasoning opens
    after other text and never ends, its mark is a stray. Any other special token is a stray too.
    """
    if not any(sign in text for sign in _SIGNS):
        return Parted("", text.strip())
    kinds = tuple(name for name, kind in KINDS.items() if kind.sign in text)
    end = _end(text)
    scan = _Scan(text)
    for mark in _marks(kinds).finditer(text, 0, end):
        scan.take(mark)
    if scan.opened and scan.begins(scan.opened):
        if not scan.last_closing:
            return Parted(text[scan.opened.end() : end].strip(), "")
        # All closing marks stand in code or in sentences. The thought more likely holds those than the answer does.
        rest = part(text[scan.last_closing.end() : end])
        return Parted(text[scan.opened.end() : scan.last_closing.start()].strip(), rest.answer, rest.stray)
    answer = text[scan.answer : end].strip()
    if scan.answer and (wrapped := _WRAPPED.fullmatch(answer)):
        answer = wrapped.group(2).strip()
    stray = scan.opened.group() if scan.opened else scan.stray or scan.in_open_code
    return Parted(text[scan.thought : scan.thought_end].strip(), answer, stray)


def unopened(text: str, reasons: bool) -> str:
    """As much of the answer in an unfinished `text` as is certain: no mark can begin in it, or be cut off at its end.

    `reasons` says that this model's texts begin with reasoning, though its opening mark may be missing.
    """
    begun = text.lstrip()
    in_words = any(opening.startswith(begun[: len(opening)]) for opening in _WORDS_FIRST)
    parted = part(text)
    if parted.stray or ((reasons or in_words) and not parted.reasoning):
        return ""
    answer = parted.answer
    start = max(answer.rfind(sign, max(0, len(answer) - _LONGEST)) for sign in _BEGINS)
    if start >= 0 and not (set(answer[start:]) & _CLOSES):
        answer = answer[:start].rstrip()
    return answer


@lru_cache(maxsize=64)
def _marks(kinds: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern for everything that `part` looks at, each as a named group."""
    groups = ["(?P<line>\\n)", r"(?P<fence>(?m:^)[ \t]{0,12}(?:```|~~~))", "(?P<tick>`+)"]
    for name in kinds:
        groups += [f"(?P<o_{name}>{KINDS[name].opening})", f"(?P<c_{name}>{KINDS[name].closing})"]
    return re.compile("|".join([*groups, f"(?P<special>{_SPECIAL})"]))


class _Scan:
    """Reads a text's marks from left to right, and tracks where the answer begins."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.answer = 0  # where the answer begins
        self.thought = self.thought_end = 0
        self.opened: re.Match[str] | None = None  # what opened reasoning that has not ended
        self.last_closing: re.Match[str] | None = None  # since `opened`, even one in code or in a sentence
        self.stray = ""
        self._ended()

    def _ended(self) -> None:
        """Resets the state, at the beginning and after reasoning: nothing is open, and no mark was mentioned."""
        self.opened = self.last_closing = None
        self.stray = ""
        self.in_open_code = ""  # first mark in code that has not ended; the code may belong to a thought, cut short
        self._fenced = self._ticked = False
        self._spoken_of = self._spoken_of_here = False  # a mark was mentioned: in the answer so far, on this line

    def begins(self, mark: re.Match[str]) -> bool:
        """Whether only space stands before a mark, at the beginning of the text or after earlier reasoning."""
        return not self.text[self.answer : mark.start()].strip()

    def take(self, mark: re.Match[str]) -> None:
        which, _, name = str(mark.lastgroup).partition("_")
        if which == "line":
            self._ticked = self._spoken_of_here = False
        elif which == "fence":
            self._fenced, self.in_open_code = not self._fenced, ""
        elif which == "tick":
            self._ticked = not self._ticked
        elif which == "o":
            self._open(mark, KINDS[name])
        elif which == "c":
            self._close(mark, KINDS[name])
        elif not self.stray and not self._in_a_sentence(mark):
            self.stray = mark.group()

    def _open(self, mark: re.Match[str], kind: Kind) -> None:
        if self.opened or (kind.pair and not self.begins(mark)):
            return
        if self._in_a_sentence(mark):
            self._spoken_of = True
            self._spoken_of_here = not (self._fenced or self._ticked)  # code mentions the closing mark in code too
        elif self.begins(mark) or not self._goes_on(mark):
            self.opened, self.last_closing = mark, None
            if not self.answer and self.begins(mark):
                self.thought = mark.end()

    def _close(self, mark: re.Match[str], kind: Kind) -> None:
        if kind.pair and not (self.opened and KINDS[str(self.opened.lastgroup)[2:]] is kind):
            return
        self.last_closing = mark
        if self.opened:
            begun = self.text[max(0, self.opened.start() - _NEAR) : self.opened.start()]
            within = self.text[self.opened.start() : self.opened.start() + _NEAR].partition(mark.group())
            one_line = bool(within[1]) and "\n" not in within[0]
            midway = begun[-1:] in (" ", "\t") and not begun.rstrip().endswith(_SENTENCE_END)
            if midway and one_line and self._goes_on(mark):
                self.opened, self._spoken_of = None, True  # both marks in one sentence: an example
                return
        elif self._spoken_of_here:
            return
        if not self._in_a_sentence(mark, closing=True):
            self.answer, self.thought_end = mark.end(), mark.start()
            self._ended()

    def _in_a_sentence(self, mark: re.Match[str], closing: bool = False) -> bool:
        """Whether a mark is only mentioned: it stands in code, in quotes, or in the middle of a sentence."""
        if self._fenced:
            self.in_open_code = self.in_open_code or mark.group()
        if self._fenced or self._ticked:
            return True
        before = self.text[max(0, mark.start() - _NEAR) : mark.start()].rpartition("\n")[2]
        after = self.text[mark.end() : mark.end() + _NEAR].partition("\n")[0]
        if not before.strip():
            return False
        if after and _QUOTES.get(before[-1]) == after[0]:
            return True
        ended = before.rstrip().endswith(_SENTENCE_END) and not _BULLET.fullmatch(before)
        if ended or not before[-1].isspace():
            return False
        if not after.strip():
            return self._spoken_of or not closing
        return self._goes_on(mark)

    def _goes_on(self, mark: re.Match[str]) -> bool:
        """Whether the line continues after a mark as a sentence continues after a word."""
        after = self.text[mark.end() : mark.end() + _NEAR].partition("\n")[0]
        first = after.lstrip()[:1]
        return first in _GOES_ON if first and not first.isalpha() else after[:1].isspace() and first.islower()


def _end(text: str) -> int:
    """Where a text ends, without the marks that end a turn. A mark that is only mentioned ('ends with </s>') stays."""
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
