"""The models that there are to name: the built-in ones, and what lies in the hub's cache."""

from __future__ import annotations

from typing import NamedTuple

from . import hub, speeds
from .builtin import BUILTIN
from .choosing import siblings
from .fit import Unknown, fits
from .names import MAIN
from .weights import kept


class Listed(NamedTuple):
    """A model as it is listed. `name` is what --model takes; `size` in bytes; `path` is empty if it is not here yet.

    `fits` says whether the memory that is free now is enough to serve it. `speed` is in tokens a second, see speeds.py;
    None where it was never measured.
    """

    name: str
    size: int
    licence: str
    path: str
    fits: bool
    speed: float | None


def listed() -> list[Listed]:
    cached = list(hub.cached())
    paths = {(file.repo, file.file): str(file.path) for file in cached}
    measured = speeds.noted()
    rows = []
    for entry in BUILTIN.values():
        path = str(kept(entry) or paths.get((entry.repo, entry.file), ""))
        rows.append(Listed(entry.name, entry.size, entry.licence, path, fits(entry), measured.get(entry.digest)))
    built_in = {(entry.repo, entry.file) for entry in BUILTIN.values()}
    for file in cached:
        first = siblings(file.file)[0] == file.file
        if first and (file.repo, file.file) not in built_in:
            parts = [each for each in cached if each.commit == file.commit and each.file in siblings(file.file)]
            size = sum(each.size for each in parts)
            revision = "" if MAIN in file.names else f"@{file.commit}"
            name = f"hf:{file.repo}:{file.file}{revision}"
            digest = file.path.readlink().name if file.path.is_symlink() else ""  # the cache names a file by it
            rows.append(Listed(name, size, "", str(file.path), fits(Unknown(name, size)), measured.get(digest)))
    return rows
