"""The libraries' own output, for as long as one of them works: no progress bars, no advice to developers.

Owns which of their warnings a person need not read. All others are said, one line each, once. What was changed in the
libraries is put back at the end. Knows no model and no training.
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
# What the libraries warn of that neither harms a tuning nor can be mended by who asked for it.
HARMLESS = (
    "mtime may not be reliable",  # checkpoints are told apart by their numbers
    "use_cache=True",  # set by transformers itself while activations are calculated again
    "The tokenizer has new PAD/BOS/EOS tokens",  # the padding, see base.tokenizer
    "is not a prefix of the tokenized prompt",  # said in our own words before the training, see template.py
)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def quiet() -> Iterator[None]:
    """Without progress bars, and without the warnings that are harmless here. The others go to standard error."""
    said: set[str] = set()

    def say(library: str, message: str) -> None:
        line = f"{library}: {shorten(COLOURS.sub('', message), 300)}"
        if line not in said and not any(words in message for words in HARMLESS):
            said.add(line)
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
    """Messages of this logger and those below it, from warnings on, go to `say` and nowhere else."""
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
    """Switches off those progress bars that are on, and on again."""
    with ExitStack() as restored:
        with suppress(ImportError):  # which base.py says in full
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
