"""quiet(): which library output a user sees while the libraries work, and that everything is restored afterwards."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest

pytest.importorskip("trl")

from matrix_align.tuning.quiet import quiet


def state() -> dict[str, Any]:
    import datasets
    from transformers import modeling_gguf_pytorch_utils as unpacking
    from transformers.utils import logging as bars

    names = ("transformers", "trl", "peft", "accelerate", "datasets", "huggingface_hub")
    loggers = {name: logging.getLogger(name) for name in names}
    return {
        "levels": {name: (one.level, one.propagate, list(one.handlers)) for name, one in loggers.items()},
        "bars": (bars.is_progress_bar_enabled(), datasets.are_progress_bars_disabled(), unpacking.tqdm),
        "warnings": (list(warnings.filters), warnings.showwarning),
    }


@pytest.mark.parametrize("ends_badly", [False, True])
def test_all_is_as_before(ends_badly: bool) -> None:
    """Levels, handlers, progress bars and warnings are restored, also after an error and when nested."""
    before = state()
    try:
        with quiet():
            assert state()["bars"][:2] == (False, True)
            with quiet():
                pass
            assert state()["bars"][:2] == (False, True)
            if ends_badly:
                raise RuntimeError
    except RuntimeError:
        pass
    assert state() == before
    assert before["bars"][0] and not before["bars"][1], "they were on"


def test_bars_that_were_off_stay_off() -> None:
    import datasets

    datasets.disable_progress_bars()
    try:
        with quiet():
            pass
        assert datasets.are_progress_bars_disabled()
    finally:
        datasets.enable_progress_bars()


def test_what_matters_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is shown once, on one line with the library's name, however it comes. Advice to developers is not."""
    with quiet():
        for _ in range(2):
            logging.getLogger("trl.trainer.sft_trainer").warning("The loss\nis %s.", "nan")
            warnings.warn("Weights were not loaded.", UserWarning, stacklevel=1)
        logging.getLogger("transformers.trainer").info("All is well.")
        logging.getLogger("transformers.trainer").warning("mtime may not be reliable on this filesystem")
        warnings.warn("f() will be removed in v6.", FutureWarning, stacklevel=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["trl: The loss is nan.", "warning: Weights were not loaded."]
