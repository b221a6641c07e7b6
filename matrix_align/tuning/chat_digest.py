"""A digest of the tokenizer and the chat template in a model's folder. They decide which tokens the model reads.

The digest is of the files' content, not of their layout: versions of transformers write the same content differently.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import InputError

SETTINGS = ("bos_token", "eos_token", "add_bos_token", "add_eos_token", "chat_template")
TEMPLATES = ("chat_template.jinja", "chat_template.json")  # the first one found replaces the settings'
VOCABULARIES = (
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
)  # for tokenizers without tokenizer.json


def chat_digest(folder: Path) -> str:
    """sha256, or an empty text for a folder without a tokenizer. Raises InputError for an unreadable file."""
    parts: dict[str, Any] = {}
    if fast := _json(folder / "tokenizer.json"):
        parts["tokenizer"] = {name: value for name, value in fast.items() if name not in ("padding", "truncation")}
    else:
        parts |= {name: content.hex() for name in VOCABULARIES if (content := _content(folder / name))}
    settings = _json(folder / "tokenizer_config.json")
    parts |= {name: _plain(settings[name]) for name in SETTINGS if settings.get(name)}
    for name in TEMPLATES:
        if content := _content(folder / name):
            text = content.decode("utf-8", "replace")
            parts["chat_template"] = text if name.endswith("jinja") else _json(folder / name).get("chat_template")
            break
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest() if parts else ""


def _plain(value: Any) -> Any:
    """A token's text. Some files write a token together with its properties."""
    return value.get("content", value) if isinstance(value, dict) else value


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_content(path) or b"{}")
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    return content if isinstance(content, dict) else {}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
