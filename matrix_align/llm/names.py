"""What `--model` may be where no server is named: a built-in model, a GGUF file at the hub, a GGUF file on this disk.

Owns the forms of these names. Looks nowhere whether there is such a model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote

from ..errors import InputError
from .builtin import BUILTIN, Builtin

QUANT = "Q4_K_M"  # taken where none is named
MAIN = "main"
REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
HOST = r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/"
SHORT = re.compile(rf"(?:hf:(?://)?|{HOST}){REPO}/?(?::(?P<what>[^@]+))?(?:@(?P<revision>.+))?", re.I)
ADDRESS = re.compile(rf"{HOST}{REPO}/(?:blob|resolve)/(?P<revision>[^/]+)/(?P<file>[^?#]+)(?:[?#].*)?", re.I)
PAGE = re.compile(rf"{HOST}{REPO}(?:/tree/(?P<revision>[^/?#]+))?/?(?:\?(?P<query>[^#]*))?(?:#.*)?", re.I)
SHOWN = "show_file_info"  # names a file in the address of a repository's page
FORMS = f"wanted {', '.join(BUILTIN)}, hf:OWNER/REPO[:QUANT|FILE.gguf][@REVISION], FILE.gguf"


@dataclass(frozen=True)
class OnHub:
    """A GGUF file at the hub. `file` is its path in the repository; without it `quant` tells which file is meant."""

    repo: str
    file: str = ""
    quant: str = QUANT
    revision: str = MAIN

    def __str__(self) -> str:
        where = f"@{self.revision}" if self.revision != MAIN else ""
        return f"hf:{self.repo}:{self.file or self.quant}{where}"


def is_on_hub(name: str) -> bool:
    """Whether the name has the beginning of one of a GGUF file at the hub."""
    return bool(re.match(rf"hf:|{HOST}", name, re.I))


def is_ours(name: str) -> bool:
    """Whether the name is of a form that only we know: a built-in model, or a GGUF file at the hub."""
    return name.lower() in BUILTIN or is_on_hub(name)


def parsed(name: str) -> Builtin | OnHub | Path:
    """What `name` names. Raises InputError, with the forms there are, if it has none of them."""
    if entry := BUILTIN.get(name.lower()):
        return entry
    if is_on_hub(name):
        if found := ADDRESS.fullmatch(name):
            return _file(found["repo"], unquote(found["file"]), unquote(found["revision"]), name)
        if found := PAGE.fullmatch(name):
            revision, shown = unquote(found["revision"] or MAIN), parse_qs(found["query"] or "").get(SHOWN)
            return _file(found["repo"], shown[0], revision, name) if shown else OnHub(found["repo"], revision=revision)
        if not (found := SHORT.fullmatch(name)):
            raise InputError(f"{name} names no model: {FORMS}")
        what, revision = found["what"] or QUANT, found["revision"] or MAIN
        if "." in what or "/" in what:
            return _file(found["repo"], what, revision, name)
        return OnHub(found["repo"], quant=what, revision=revision)
    if name.lower().endswith(".gguf"):
        return Path(name)
    raise InputError(f"{name} names no model: {FORMS}; to name a model on a server give --endpoint URL too")


def _file(repo: str, file: str, revision: str, name: str) -> OnHub:
    if not file.lower().endswith(".gguf"):
        raise InputError(f"{name} names no .gguf file: {FORMS}")
    return OnHub(repo, file, revision=revision)
