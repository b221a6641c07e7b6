"""A dialogue written as one text: who says what in it.

Owns the marks that begin and end a turn. It knows three families: the tags of chat templates; headings, as Alpaca
(Taori et al. 2023) and Guanaco (Dettmers et al. 2023) write them; and speakers' names before a colon, as HH-RLHF (Bai
et al. 2022) writes them. A text counts as a dialogue only if it can be nothing else: it must begin with a mark and
contain another one. A question that quotes a dialogue further down stays a question.
"""

from __future__ import annotations

import re

Spoken = list[tuple[str, str]]  # who speaks, in the text's own word, and the words spoken

TAG = re.compile(
    r"<\|im_start\|>(\w+)[ \t]*\n?"  # ChatML
    r"|<\|start_header_id\|>(\w+)<\|end_header_id\|>\s*"  # Llama 3
    r"|<start_of_turn>(\w+)\n?"  # Gemma
    r"|<\|(system|user|assistant)\|>\n?"  # Zephyr, Phi
    r"|\[(/?INST)\]"  # Llama 2, Mistral
)
END = r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<\|end\|>|<\|endoftext\|>|<\|begin_of_text\|>|<bos>|<eos>|</?s>"
ENDS = re.compile(rf"^(?:\s|{END})+|(?:\s|{END})+$")
SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)  # Llama 2: inside the first turn
HEADING = re.compile(r"### ?(Instruction|Input|Response|Human|User|Assistant|System):\s*", re.IGNORECASE)
ALPACA = re.compile(r"\s*Below is an instruction that describes a task")  # every row begins with it
PARAGRAPH = re.compile(r"(?:\A\s*|\n\n)(Human|User|Assistant|System):[ \t]*")
LINE = re.compile(r"(?:\A\s*|\n)(Human|User|Assistant|System):[ \t]*")
BEGINS = re.compile(r"\s*(?:<|\[INST|###|Human:|User:|Assistant:|System:|Below is an instruction)", re.IGNORECASE)
ASKED = re.compile(r"\n\n(?:Human|User):")
UNANSWERED = re.compile(r"\n\nAssistant:\s*\Z")


def dialogue(text: str) -> Spoken | None:
    """The turns of a dialogue, each with its speaker in lower case; None if the text is not a dialogue."""
    if not BEGINS.match(text) and not UNANSWERED.search(text[-20:]):
        return None  # most texts
    return _tagged(text) or _headed(text) or _named(text)


def _tagged(text: str) -> Spoken | None:
    spoken = _split(TAG, ENDS.sub("", text)) if "<" in text or "[INST]" in text else []
    if not spoken or spoken[0][0] == "/inst" or (len(spoken) == 1 and not re.search(END, text)):
        return None
    turns: Spoken = []
    for who, said in spoken:
        if who == "inst" and (system := SYSTEM.match(said)):
            turns.append(("system", system[1].strip()))
            said = said[system.end() :]
        turns.append(({"inst": "user", "/inst": "assistant"}.get(who, who), ENDS.sub("", said)))
    return turns


def _headed(text: str) -> Spoken | None:
    spoken = _split(HEADING, text[mark.start() :] if ALPACA.match(text) and (mark := HEADING.search(text)) else text)
    if not {"response", "assistant"} & {who for who, _ in spoken}:
        return None
    turns: Spoken = []
    for who, said in spoken:
        if who == "input" and turns:
            turns[-1] = (turns[-1][0], f"{turns[-1][1]}\n\n{said}".strip())
        else:
            turns.append(({"instruction": "user", "input": "user", "response": "assistant"}.get(who, who), said))
    return turns


def _named(text: str) -> Spoken | None:
    spoken = _split(PARAGRAPH, text)
    if "assistant" not in {who for who, _ in spoken}:
        spoken = _split(LINE, text)
    if len(spoken) > 1 and "assistant" in {who for who, _ in spoken}:
        return spoken
    if ASKED.match(text):
        return _split(PARAGRAPH, text)
    if (asked := ASKED.search(text)) and UNANSWERED.search(text):  # a prompt with its instructions before it
        return [("system", text[: asked.start()].strip()), *_split(PARAGRAPH, text[asked.start() :])]
    return None


def _split(mark: re.Pattern[str], text: str) -> Spoken:
    """The speaker and the text after each mark; nothing if the text does not begin with a mark."""
    marks = list(mark.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        return []
    ends = [*(each.start() for each in marks[1:]), len(text)]
    return [
        (next(filter(None, each.groups())).lower(), text[each.end() : end].strip())
        for each, end in zip(marks, ends, strict=True)
    ]
