"""A TOML file in each folder that we write. It says what the folder was made with.

The same command resumes the work in the folder; a command with other settings is refused. Knows nothing of what the
tables mean.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w
from filelock import FileLock, Timeout

from .errors import InputError

Tables = dict[str, dict[str, Any]]

MADE_BY = {  # the file, and the command that writes it into its folder
    "run.toml": "generate",
    "compare.toml": "compare",
    "rating.toml": "rate new",
    "evaluation.toml": "evaluate",
    "measure.toml": "measure",
    "tune.toml": "tune",
    "iterate.toml": "iterate",
}


def tables_in(path: Path) -> Tables:
    """The tables of the file, or none if there is no file. Raises InputError for a file that is not ours."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from None
    if loose := [name for name, value in found.items() if not isinstance(value, dict)]:
        raise InputError(f"{path}: {loose[0]} is in no table, so matrix-align did not write this file")
    return found


def settle(
    path: Path,
    mine: Tables,
    note: str,
    what: str,
    empty: bool = False,
    beside: Tables | None = None,
    options: Mapping[str, str] | None = None,
    folder: str = "--out",
) -> None:
    """Writes `mine` to the file, or compares it with the tables that are there. What is `beside` is written, and never
    compared.

    `note` becomes the file's first line. `what` says in one word what the folder holds. `options` are those that give
    the fields, where a field's name does not say it, and `folder` is the one that gives the folder. Raises InputError
    with the differences, unless the folder is `empty` of any work; then `mine` replaces what was there.
    """
    if (there := tables_in(path)) and not empty:
        if differ := list(_differences(there, mine, options or {})):
            raise InputError(
                f"{path.parent}: this {what} has other settings: {'; '.join(differ)}; "
                f"give the same ones, or another {folder}"
            )
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.part")
        tables = {part: {**fields, **(beside or {}).get(part, {})} for part, fields in mine.items()}
        set_ones = {part: {name: v for name, v in fields.items() if v is not None} for part, fields in tables.items()}
        unfinished.write_text(f"# {note}\n\n{tomli_w.dumps(set_ones)}", encoding="utf-8")  # TOML has no null
        unfinished.replace(path)  # so that the file is complete or absent
    except OSError as error:
        raise InputError(f"can't make the {what} {path.parent}: {error.strerror}") from None


def _differences(there: Tables, mine: Tables, options: Mapping[str, str]) -> Iterator[str]:
    for part, fields in mine.items():
        for name, value in fields.items():
            if (was := there.get(part, {}).get(name)) == value:
                continue
            if name in options:
                yield f"{options[name]} was {_given(was)}, is {_given(value)}"
            else:
                yield f"{part}.{name} was {'not set' if was is None else _shown(was)}, is {_shown(value)}"


def _given(value: Any) -> str:
    """An option's value, of which False, 0 and "" stand for an option that is left out."""
    return "given" if value is True else _shown(value) if value else "not given"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


@contextmanager
def locked(folder: Path, described: str) -> Iterator[None]:
    """Keeps the folder to this process: two at work on it would pay for everything twice, or mix their files.

    `described` is the name of the file that says what the folder was made with. Raises InputError if another process
    has the folder, if another command made it, and if it can't be made.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(f"another process is at work on {folder}; wait for it, or stop it") from None
    except OSError as error:
        raise InputError(f"can't make the folder {folder}: {error.strerror}") from None
    except NotImplementedError:
        raise InputError(f"the disk of {folder} has no locks; give a folder on another disk") from None
    try:
        refuse_others(folder, described)
        yield
    finally:
        lock.release()


def refuse_others(folder: Path, described: str = "") -> None:
    """Raises InputError if another command made the folder: their files can have the same names.

    A folder that has the file `described` is this command's own.
    """
    if described and (folder / described).exists():
        return
    if others := [name for name in MADE_BY if (folder / name).exists()]:
        made_by = MADE_BY[others[0]]
        raise InputError(f"`{made_by}` made {folder}, which has its {others[0]}; give a folder that is new or empty")
