"""Silences the libraries while they work: no progress bars, no advice to developers.

Owns which of their warnings a user need not read. Every other warning is printed once, on one line. Restores the
libraries' settings at the end. Knows no model and no training.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from ..types import shorten

LIBRARIES = ("accelerate", "datasets", "huggingface_hub", "peft", "transformers", "trl")
FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)
# Warnings of things that do no harm to a tuning, and that its user can't change.
HARMLESS = (
    "mtime may not be reliable",  # checkpoints are told apart by their numbers
    "use_cache=True",  # transformers sets it itself during gradient checkpointing
    "The tokenizer has new PAD/BOS/EOS tokens",  # the padding, see base.tokenizer
    "will assume that the vocabulary was not modified",  # a GGUF file has no config.json
    "is not a prefix of the tokenized prompt",  # template.py says it in our words before the training
)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def quiet() -> Iterator[None]:
    """Runs a block without progress bars and harmless warnings. Other warnings go to standard error."""
    printed: set[str] = set()

    def say(library: str, message: str) -> None:
        line = f"{library}: {shorten(COLOURS.sub('', message), 300)}"
        if line not in printed and not any(words in message for words in HARMLESS):
            printed.add(line)
            print(line, file=sys.stderr)

    def warned(message: Any, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
        say(_library(filename), str(message))

    with ExitStack() as restored:
        restored.enter_context(_without_bars())
        for name in LIBRARIES:
            restored.enter_context(_logging_through(logging.getLogger(name), say))
        restored.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")
        for category in FOR_DEVELOPERS:
            warnings.simplefilter("ignore", category)
        warnings.showwarning = warned
        yield


def _library(filename: str) -> str:
    """The package that a file belongs to."""
    parts = filename.replace("\\", "/").split("/")
    return parts[parts.index("site-packages") + 1] if "site-packages" in parts[:-1] else "warning"


class _Saying(logging.Handler):
    def __init__(self, say: Callable[[str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.name.split(".")[0], record.getMessage())


@contextmanager
def _logging_through(logger: logging.Logger, say: Callable[[str, str], None]) -> Iterator[None]:
    """Sends warnings and errors of this logger, and of those below it, only to `say`."""
    level, handlers, propagate = logger.level, logger.handlers[:], logger.propagate
    logger.handlers, logger.propagate = [_Saying(say)], False
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Switches off the progress bars that are on. Switches the same ones on again at the end."""
    with ExitStack() as restored:
        with suppress(ImportError):  # base.py reports a missing library
            import datasets
            from transformers import modeling_gguf_pytorch_utils as unpacking
            from transformers.utils import logging as bars

            if bars.is_progress_bar_enabled():
                bars.disable_progress_bar()
                restored.callback(bars.enable_progress_bar)
            if not datasets.are_progress_bars_disabled():
                datasets.disable_progress_bars()
                restored.callback(datasets.enable_progress_bars)
            restored.callback(setattr, unpacking, "tqdm", unpacking.tqdm)
            unpacking.tqdm = lambda items, **_: items  # this one has no switch
        yield
