"""The words of a method's calls: one .md file a kind of call, in a folder of the method's own.

Owns loading the files and filling them in. What is filled in is data: it stands between tags, and can forge none.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import cached_property
from importlib.resources import files
from string import Template

TAG = re.compile(r"</?([a-z]+)>")


class Filled(str):
    """A prompt's part that has been filled in already; its tags are ours."""


class Prompts:
    """The prompts in the folder of a package. A file `rules.md` there is what the others call $rules."""

    def __init__(self, package: str) -> None:
        folder = files(package)
        self._texts = {
            path.name.removesuffix(".md"): path.read_text(encoding="utf-8").strip()
            for path in sorted(folder.iterdir(), key=lambda path: path.name)
            if path.name.endswith(".md")
        }
        self.templates = {kind: Template(text) for kind, text in self._texts.items()}
        self._shared = {"rules": self._texts["rules"]} if "rules" in self._texts else {}
        tags = {tag for text in self._texts.values() for tag in TAG.findall(text)}
        self._forged = re.compile(rf"<\s*/?\s*(?:{'|'.join(sorted(tags))})(?![\w-])") if tags else None

    @cached_property
    def digest(self) -> str:
        """sha256, in hex, over all of them: answers made with other words are other answers."""
        return hashlib.sha256(repr(sorted(self._texts.items())).encode()).hexdigest()

    def render(self, kind: str, /, **data: object) -> Filled:
        """The prompt of this kind with `data` filled in; what reads as one of our tags inside the data is no tag."""
        texts = {
            name: value if isinstance(value, Filled) else self._harmless(str(value)) for name, value in data.items()
        }
        return Filled(self.templates[kind].substitute(texts | self._shared))

    def _harmless(self, text: str) -> str:
        """`text` with ‹ for the bracket that opens anything that reads as one of our tags."""
        if self._forged is None or not any(bracket in text for bracket in "<＜﹤"):
            return text
        # A model may read through what is invisible or wide: <quest\u200bion>, ＜question＞. So does this.
        folded, places = [], []
        for place, sign in enumerate(text):
            if unicodedata.category(sign) not in ("Cf", "Mn"):
                shape = unicodedata.normalize("NFKC", sign).casefold()
                folded.append(shape)
                places.extend([place] * len(shape))
        signs = list(text)
        for found in self._forged.finditer("".join(folded)):
            signs[places[found.start()]] = "‹"
        return "".join(signs)
