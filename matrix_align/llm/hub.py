"""GGUF files from the Hugging Face hub, through its own library.

The library's cache, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE hold here as everywhere else; the library shows the
progress and lets one of several processes fetch. Owns what happens if the hub can't be reached: then its cache counts.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EmbeddedError, InputError
from ..types import shorten
from .choosing import chosen, is_language_model
from .disk import check_room
from .names import OnHub

TIMEOUT = 10.0  # seconds until the hub is said not to answer
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR)  # the cache is where no file can be


class HubUnreachable(EmbeddedError):
    """The hub does not answer, or is not to be asked."""


@dataclass(frozen=True)
class Fetched:
    """Files of one model on this disk, in order. `file` is the first one's path in the repository."""

    paths: tuple[Path, ...]
    file: str
    commit: str


@dataclass(frozen=True)
class Cached:
    """A file in the library's cache. `names` are the branches and tags that were this commit when it was fetched."""

    repo: str
    file: str
    commit: str
    names: frozenset[str]
    path: Path
    size: int


def fetched(wanted: OnHub, sha256: str = "") -> Fetched:
    """The files of the wanted model, fetched where they are not cached. With `sha256` only a file that has it.

    Raises InputError for what is not there, HubUnreachable, and EmbeddedError for what can't be fetched or kept.
    """
    if here := _from_cache(wanted, exact=True):
        return here  # a commit does not change
    try:
        return _from_hub(wanted, sha256)
    except HubUnreachable as why:
        if here := _from_cache(wanted):
            return here
        offered = _offered(wanted)
        raise HubUnreachable(f"{wanted} is not in the cache{offered}, and {why}") from None


def cached() -> Iterator[Cached]:
    """All GGUF files of language models in the library's cache."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, OSError, ValueError):
        return
    for repo in sorted(repos, key=lambda each: str(each.repo_id)):
        for revision in repo.revisions if repo.repo_type == "model" else ():
            for file in sorted(revision.files, key=lambda each: str(each.file_path)):
                name = file.file_path.relative_to(revision.snapshot_path).as_posix()
                if is_language_model(name):
                    yield Cached(
                        repo.repo_id, name, revision.commit_hash, frozenset(revision.refs), file.file_path,
                        file.size_on_disk,
                    )  # fmt: skip


def _of_revision(wanted: OnHub, exact: bool = False) -> dict[str, Cached]:
    """The cached files of the wanted repository and revision, by name; `exact`: only if the revision is a commit."""

    def fits(file: Cached) -> bool:
        return file.commit == wanted.revision or (not exact and wanted.revision in file.names)

    return {file.file: file for file in cached() if file.repo == wanted.repo and fits(file)}


def _from_cache(wanted: OnHub, exact: bool = False) -> Fetched | None:
    if exact and len(wanted.revision) != 40:
        return None
    here = _of_revision(wanted, exact)
    try:
        files = chosen(here, wanted)
    except InputError:
        return None
    return Fetched(tuple(here[file].path for file in files), files[0], here[files[0]].commit)


def _offered(wanted: OnHub) -> str:
    files = sorted(_of_revision(wanted))
    return f" (it holds {', '.join(files)} of it)" if files else ""


def _from_hub(wanted: OnHub, sha256: str) -> Fetched:
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise HubUnreachable("HF_HUB_OFFLINE is set; unset it once to fetch it")
    hub = HfApi()
    try:
        info = hub.model_info(wanted.repo, revision=wanted.revision, files_metadata=True, timeout=TIMEOUT)
    except Exception as error:  # besides its own errors, those of its HTTP client, which changes with its version
        raise _explained(error, wanted) from None
    listed = {file.rfilename: file for file in info.siblings or ()}
    files = chosen(listed, wanted)
    sums = [listed[file].lfs.sha256 for file in files if listed[file].lfs]
    if sha256 and sums != [sha256]:
        raise EmbeddedError(f"{wanted} is another file at the hub now than the one that is built in")
    here = _of_revision(OnHub(wanted.repo, revision=info.sha), exact=True)
    missing = sum(listed[file].size or 0 for file in files if file not in here)
    check_room(missing, Path(constants.HF_HUB_CACHE), str(wanted), "HF_HOME")
    try:
        # By the revision's name, so that the cache knows it by that name when the hub can't be reached.
        paths = tuple(Path(hub.hf_hub_download(wanted.repo, file, revision=wanted.revision)) for file in files)
    except Exception as error:
        raise _explained(error, wanted) from None
    return Fetched(paths, files[0], _commit(paths[0], files[0]))


def _commit(path: Path, file: str) -> str:
    """The commit in a path of the cache, …/snapshots/COMMIT/FILE."""
    return path.parents[file.count("/")].name


def _explained(error: Exception, wanted: OnHub) -> Exception:
    """What the library raises, in one line that says what to do."""
    from huggingface_hub import constants, errors

    token = "log in with HF_TOKEN"
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (errors.GatedRepoError, f"{wanted.repo} is gated; accept its terms on its page at the hub, and {token}"),
        (errors.RepositoryNotFoundError, f"the hub knows no {wanted.repo}, or it is private: then {token}"),
        (errors.RevisionNotFoundError, f"{wanted.repo} has no revision {wanted.revision}"),
        (errors.HFValidationError, f"{wanted.repo} is no name of a repository"),
    )
    for kind, meaning in kinds:
        if isinstance(error, kind):
            return InputError(f"{wanted}: {meaning}")
    response: Any = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    if status in (401, 403):
        return InputError(f"{wanted}: the hub refuses HF_TOKEN ({status}); is it valid, and may it read {wanted.repo}?")
    if isinstance(error, UnicodeEncodeError):  # on the way into a header of HTTP
        return InputError(f"{wanted}: HF_TOKEN holds {error.object[error.start]!r}, which no token holds")
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        where = error.filename or constants.HF_HUB_CACHE
        advice = "free some room there, or name another folder with HF_HOME"
        return EmbeddedError(f"can't keep {wanted} ({where}: {error.strerror}); {advice}")
    if isinstance(error, OSError) and not isinstance(error, errors.HfHubHTTPError | ConnectionError | TimeoutError):
        return EmbeddedError(f"can't fetch {wanted}: {shorten(str(error), 200)}; run the same command again")
    what = f"it answers {status}" if status else shorten(str(error) or type(error).__name__, 120)
    return HubUnreachable(f"the hub can't be reached ({what})")
