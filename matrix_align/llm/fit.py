"""Whether a model fits here: what it needs beside what this machine has, and which built-in one to take instead.

Owns the estimate of what a model needs. Asks nothing of the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..errors import InputError
from . import machine
from .builtin import BUILTIN, CONTEXT, SLOTS
from .dialect import log
from .disk import size

STATE = 27e-6  # bytes for each token and byte of weights where it is not known; it is so in models of Qwen2.5
COPIES = 1.4  # llama.cpp keeps a part of the weights a second time, in an order that suits the processor
BESIDE = 400_000_000  # bytes of buffers, of the cache of prompts, and of this program
PER_CORE = 1_000_000_000  # bytes of weights; with more for each core, less than ten tokens a second are written


class Sized(Protocol):
    """What is known of a model before it is loaded: a `Builtin` or `Weights`."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def state(self) -> int: ...
    @property
    def slots(self) -> int: ...
    @property
    def context(self) -> int: ...


@dataclass(frozen=True)
class Unknown:
    """A model of which only the size is known."""

    name: str
    size: int
    state: int = 0
    slots: int = SLOTS
    context: int = CONTEXT


def needed(model: Sized) -> int:
    """The bytes of memory that the model needs when it is served. An estimate, fitted to the built-in models."""
    state = model.slots * model.context * (model.state or STATE * model.size)
    return round(COPIES * model.size + state + BESIDE)


def fits(model: Sized) -> bool:
    """Whether the model fits into the memory that is free now."""
    return needed(model) <= machine.free_memory()


def check(model: Sized) -> None:
    """Raises InputError for a model that does not fit into memory. Logs that one will be slow."""
    smaller = [entry for entry in BUILTIN.values() if entry.size < model.size]
    if not fits(model):
        instead = [entry for entry in smaller if fits(entry)]
        advice = f"--model {instead[0].name}, which needs {size(needed(instead[0]))}" if instead else "--endpoint URL"
        raise InputError(
            f"{model.name} needs about {size(needed(model))} of memory, and {size(machine.free_memory())} are free "
            f"here; free some, or give {advice}"
        )
    if model.size > PER_CORE * (cores := machine.cores()) and smaller:
        log.info(
            "%s will be slow on %s; --model %s is faster",
            model.name, "1 core" if cores == 1 else f"{cores} cores", smaller[0].name,
        )  # fmt: skip
