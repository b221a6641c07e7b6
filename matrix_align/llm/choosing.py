"""Which files of a repository are meant by a quantisation or a file's name.

Owns how people name GGUF files: the quantisation in the name, files split in numbered ones, and files that are no
language model (`mmproj`, the projector that models of images have beside them). Knows no hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import InputError
from .names import OnHub

SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.I)
KIND = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:[IT]?Q\d+(?:_[A-Za-z0-9]+)*|BF16|FP?16|FP?32|MXFP4(?:_[A-Za-z0-9]+)*))(?=[-./]|$)",
    re.I,
)


def is_language_model(file: str) -> bool:
    """Whether the name is that of a GGUF file, and not of a projector."""
    return file.lower().endswith(".gguf") and not file.rsplit("/", 1)[-1].lower().startswith("mmproj")


def siblings(file: str) -> list[str]:
    """The files that `file` is split in, in order; only itself, if it is whole."""
    if not (found := SPLIT.fullmatch(file)):
        return [file]
    count = int(found["count"])
    return [f"{found['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]


def stem(file: str) -> str:
    """The name of a GGUF file without its folder, its number if it is split, and its ending."""
    name = file.rsplit("/", 1)[-1]
    found = SPLIT.fullmatch(name)
    return found["stem"] if found else name[: -len(".gguf")]


def chosen(files: Iterable[str], wanted: OnHub) -> list[str]:
    """The files of the wanted model, in order. Raises InputError, with those there are, if there is no such model."""
    models: dict[str, list[str]] = {}  # by the first file
    for file in sorted(files):
        if is_language_model(file):
            models.setdefault(siblings(file)[0], []).append(file)
    if not models:
        raise InputError(f"{wanted}: {wanted.repo} holds no GGUF file of a language model")
    if wanted.file:
        hits = [first for first in models if first == siblings(wanted.file)[0]]
        if not hits:
            raise InputError(f"{wanted}: there is no such file of a language model; there are {', '.join(models)}")
    else:
        hits = [first for first in models if wanted.quant.lower() in (each.lower() for each in _kinds(first))]
        if not hits:
            there = [(_kinds(first) or [first])[-1] for first in models]
            raise InputError(f"{wanted}: there is no {wanted.quant}; there are {', '.join(dict.fromkeys(there))}")
    if len(hits) > 1:
        raise InputError(f"{wanted} may be any of {', '.join(hits)}; give hf:{wanted.repo}:FILE.gguf")
    found, whole = models[hits[0]], siblings(hits[0])
    if missing := [file for file in whole if file not in found]:
        raise InputError(f"{wanted}: {missing[0]} is missing there, one of {len(whole)} files of the model")
    return whole


def _kinds(file: str) -> list[str]:
    """The quantisations in a file's path."""
    return KIND.findall(f"{file.rsplit('/', 1)[0]}/{stem(file)}" if "/" in file else stem(file))
