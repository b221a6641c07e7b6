"""The prompts of a method: one .md file for each kind of call, in the method's own folder.

Owns loading the files and filling them in. What is filled in is data: it stands between tags and can't forge one.
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
    """A part of a prompt that is filled in already. Its tags are ours."""


class Prompts:
    """The prompts in a package's folder: its .md files. The .toml files in its folder `examples` hold examples."""

    def __init__(self, package: str) -> None:
        folder = files(package)
        self._texts = {
            path.name.removesuffix(".md"): path.read_text(encoding="utf-8").strip()
            for path in sorted(folder.iterdir(), key=lambda path: path.name)
            if path.name.endswith(".md")
        }
        scenes = folder / "examples"
        self.examples = tuple(
            path.read_text(encoding="utf-8")
            for path in (sorted(scenes.iterdir(), key=lambda path: path.name) if scenes.is_dir() else [])
            if path.name.endswith(".toml")
        )
        self.templates = {kind: Template(text) for kind, text in self._texts.items()}
        self._formats = {kind: _format_of(template) for kind, template in self.templates.items()}
        tags = {tag for text in self._texts.values() for tag in TAG.findall(text)}
        self._forged = re.compile(rf"<\s*/?\s*(?:{'|'.join(sorted(tags))})(?![\w-])", re.IGNORECASE) if tags else None

    @cached_property
    def digest(self) -> str:
        """sha256 of all prompts and examples, in hex. Answers made with other prompts are other answers."""
        return hashlib.sha256(repr((sorted(self._texts.items()), self.examples)).encode()).hexdigest()

    def render(self, kind: str, /, **data: object) -> Filled:
        """The prompt of this kind with `data` filled in. Whatever in `data` looks like one of our tags is defused."""
        texts = {
            name: value if isinstance(value, Filled) else self._harmless(str(value)) for name, value in data.items()
        }
        return Filled(self._formats[kind].format_map(texts))

    def _harmless(self, text: str) -> str:
        """`text` with ‹ in place of the bracket of anything that looks like one of our tags."""
        if self._forged is None or not ("<" in text or "＜" in text or "﹤" in text):
            return text
        if text.isascii():  # as most code is, which is full of brackets
            return self._forged.sub(lambda found: f"‹{found.group()[1:]}", text)
        # A model may see a tag in <quest\u200bion> or ＜question＞. So compare without invisible signs and wide forms.
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


def _format_of(template: Template) -> str:
    """The template as `str.format` takes it, which fills in a long prompt twenty times as fast."""
    text = template.template.replace("{", "{{").replace("}", "}}")
    return Template(text).substitute({name: f"{{{name}}}" for name in template.get_identifiers()})
