"""The words of every kind of call, one .md file a kind: scientific content, read and ablated together.

Owns loading and filling them in. What is filled in is data: it stands between tags, and can't close them.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from string import Template

TAGS = "question answer setting cast person you goal record memory plan step attempt reason ending effects"
_CLOSER = re.compile(rf"<(\s*/?\s*(?:{'|'.join(TAGS.split())})\s*/?\s*)>", re.IGNORECASE)


@cache
def _template(kind: str) -> Template:
    return Template(files(__package__).joinpath(f"{kind}.md").read_text(encoding="utf-8").strip())


@cache
def digest() -> str:
    """sha256, in hex, over all prompts: scenes played with other words are other scenes."""
    texts = sorted((each.name, each.read_bytes()) for each in files(__package__).iterdir() if each.name.endswith(".md"))
    return hashlib.sha256(repr(texts).encode()).hexdigest()


class Filled(str):
    """A prompt's part that has been filled in already; its tags are ours."""


def render(kind: str, /, **data: object) -> Filled:
    """The prompt of this kind with `data` filled in; a tag of ours inside the data is made harmless."""
    rules = {"rules": _template("rules").template} if kind != "rules" else {}
    texts = {name: each if isinstance(each, Filled) else _harmless(str(each)) for name, each in data.items()}
    return Filled(_template(kind).substitute(texts | rules))


def _harmless(text: str) -> str:
    return _CLOSER.sub(r"‹\1›", text)
