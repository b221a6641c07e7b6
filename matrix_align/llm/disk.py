"""Room on the disk, looked at before a long fetch, and sizes as people read them."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import EmbeddedError


class NoRoom(EmbeddedError):
    """The disk has too little room for weights; another source of them would not help."""


def check_room(wanted: int, folder: Path, what: str, setting: str) -> None:
    """Raises NoRoom unless `wanted` bytes are free where `folder` is or will be. `setting` names another folder."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if (free := shutil.disk_usage(there).free) < wanted:
        raise NoRoom(
            f"{what} needs {size(wanted)} in {folder}, and {size(free)} are free there; "
            f"free some, or name a folder on another disk with {setting}"
        )


def size(count: float) -> str:
    """Bytes as MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
