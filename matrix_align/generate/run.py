"""A run: a folder with `run.toml`, which says how its answers are made, and with the record of these answers.

Owns the folder and its lock. Knows no server.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .. import provenance
from ..errors import InputError
from ..methods import METHODS, Method, Setup
from ..plain import fault_in
from ..store import Store, holds_calls
from ..types import Sampling, clean
from .inputs import Inputs

DESCRIBED = "run.toml"
NOTE = "How the answers of this run are made. `matrix-align generate --out` with this folder resumes it."


def setup_from(path: Path, method: Method, settings: dict[str, Any], sampling: dict[str, Any]) -> Setup:
    """The setup of `method` with what the file at `path` says. Raises InputError if it can't be used."""
    try:
        return Setup(method, method.settings.model_validate(settings), Sampling.model_validate(sampling))
    except ValidationError as error:
        raise InputError(f"{path}: {fault_in(error)}; give it back its value") from None


class Run:
    """An open run. Use as a context manager. Raises InputError and StoreError."""

    def __init__(self, folder: Path, setup: Setup, model: str = "", digest: str = "", source: str = "") -> None:
        """Opens the run in `folder`, or makes a new one there. `source` says where the weights came from; the same ones
        may come from elsewhere.
        """
        self.folder = folder
        self.setup = setup
        mine = {"model": {"name": clean(model), "digest": digest}, **setup.tables()}
        self._closing = ExitStack()
        self._closing.enter_context(provenance.locked(folder, DESCRIBED))  # before anything is changed
        try:
            before = self.described(folder)  # refuses a run of another version
            empty = not holds_calls(folder / "record.db")  # without paid calls the settings may still change
            if before and not empty and before["method"].get("name") != setup.method.name:
                mine["method"], mine["settings"] = {"name": setup.method.name}, {}  # the rest differs because of it
            beside: provenance.Tables = {"model": {"source": source or None}}
            provenance.settle(folder / DESCRIBED, mine, NOTE, "run", empty, beside)
            self.store = self._closing.enter_context(Store(folder / "record.db"))
            self.store.recall_overflows()  # so that a resumed answer finds the calls that followed them
            self.inputs = Inputs(self.store)
        except BaseException:
            self._closing.close()
            raise

    @classmethod
    def there(cls, folder: Path) -> Run:
        """The run in `folder`, opened only to read, whatever its model and prompts."""
        run = cls.__new__(cls)
        run.folder, run.setup = folder, cls.setup_in(folder)
        run._closing = ExitStack()
        run.store = run._closing.enter_context(Store(folder / "record.db", read_only=True))
        run.inputs = Inputs(run.store)
        return run

    @staticmethod
    def described(folder: Path) -> provenance.Tables:
        """The tables of run.toml; none if there is no run. Raises InputError for a run of version 0.1."""
        tables = provenance.tables_in(folder / DESCRIBED)
        if tables and "method" not in tables:
            raise InputError(
                f"{folder} is a run of matrix-align 0.1, which this version can't resume; export it with 0.1 "
                "(its files can be tuned on as before), or give another --out"
            )
        return tables

    @classmethod
    def setup_in(cls, folder: Path) -> Setup:
        """The setup of the run in `folder`. Raises InputError if there is no run."""
        if not (tables := cls.described(folder)):
            raise InputError(f"{folder} holds no run yet; give a SOURCE of questions")
        name = str(tables["method"].get("name"))
        if not (method := METHODS.get(name)):
            raise InputError(f"{folder / DESCRIBED}: there is no method {name!r}; there are {', '.join(METHODS)}")
        return setup_from(folder / DESCRIBED, method, tables.get("settings", {}), tables.get("sampling", {}))

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
