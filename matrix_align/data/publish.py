"""Uploads an export to the Hugging Face hub. Needs a login (HF_TOKEN)."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..types import shorten


def publish(folder: Path, files: Sequence[str], name: str) -> None:
    """Uploads these files of `folder` and its data card as the data set `name`. A new data set is private.

    Raises InputError.
    """
    from huggingface_hub import HfApi

    try:
        hub = HfApi()
        hub.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        wanted = ["README.md", *map(glob.escape, files)]
        hub.upload_folder(folder_path=folder, repo_id=name, repo_type="dataset", allow_patterns=wanted)
    except Exception as error:  # the library, the network and the hub raise many kinds
        raise InputError(f"can't publish {name}: {shorten(str(error), 200)}; the files are in {folder}") from None
