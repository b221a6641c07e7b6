"""What a folder of ours was made with, as a TOML file in it; the same command again is told by it from another one."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

from .errors import InputError

Tables = dict[str, dict[str, Any]]


def read(path: Path) -> Tables:
    """What the file says, or nothing where there is none. Raises InputError."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"can't read {path}: {error}") from None
    if loose := [name for name, value in found.items() if not isinstance(value, dict)]:
        raise InputError(f"{path}: {loose[0]} stands in no table, so it is none of ours")
    return found


def settle(path: Path, mine: Tables, note: str, what: str, empty: bool = False) -> None:
    """Writes `mine`, or compares it with what is there. Raises InputError that shows the differences, unless `empty`.

    `note` is the file's first line; `what` says in one word what the folder holds.
    """
    if (there := read(path)) and not empty:
        if differ := list(_differences(there, mine)):
            raise InputError(
                f"{path.parent} holds a {what} with other settings: {'; '.join(differ)}; "
                "give the same ones, or another --out"
            )
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, mine, note)
    except OSError as error:
        raise InputError(f"can't make the {what} {path.parent}: {error.strerror}") from None


def _differences(there: Tables, mine: Tables) -> Iterator[str]:
    for part, fields in mine.items():
        for name, value in fields.items():
            if (was := there.get(part, {}).get(name)) != value:
                yield f"{part}.{name} was {'not set' if was is None else _value(was)}, is {_value(value)}"


def _value(value: Any) -> str:
    """A value as TOML spells it: as JSON does, but for tables, dates and the odd numbers and signs."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_value(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # inf and nan too
    if isinstance(value, date | time):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write(path: Path, parts: Tables, note: str) -> None:
    """TOML of tables of values; whole or not at all."""
    lines = [f"# {note}"]
    for part, fields in parts.items():
        lines += [
            f"\n[{part}]",
            *(f"{name} = {_value(value)}" for name, value in fields.items()),
        ]
    half = path.with_name(f".{path.name}.part")
    half.write_text("\n".join(lines) + "\n", encoding="utf-8")
    half.replace(path)
