"""Inspect AI in tests: an evaluation in this process, without display, network or telemetry."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest

from matrix_align.llm.schema import Schema

from .fake import FakeServer, fill

inspect_ai = pytest.importorskip("inspect_ai")
pytest.importorskip("openai")

# Inspect AI's own warnings: it calls its libraries by old names, and leaves streams to the garbage collector.
QUIET = [
    pytest.mark.filterwarnings(f"ignore::{name}")
    for name in ("DeprecationWarning", "ResourceWarning", "pytest.PytestUnraisableExceptionWarning")
]
IN_WORDS = "and nothing else:\n"


def fake_model(server: FakeServer) -> Any:
    """The fake endpoint's model, as Inspect's."""
    name = "openai-api/local/fake-model"
    return inspect_ai.model.get_model(name, base_url=server.url, api_key="none", memoize=False)


def evaluate(server: FakeServer, folder: Path, task: Any, **options: Any) -> Any:
    """The log of one evaluation of the fake model."""
    given: dict[str, Any] = {"max_retries": 0, "fail_on_error": False, **options}
    logs = str(folder / "logs")
    (log,) = inspect_ai.eval(task, model=fake_model(server), display="none", log_dir=logs, **given)
    gc.collect()  # what it has left open would warn in another test
    return log


def evaluated(server: FakeServer, folder: Path, samples: list[Any], solver: Any, **options: Any) -> Any:
    """The log of samples answered by `solver`."""
    task = inspect_ai.Task(dataset=samples, solver=solver, name="asked", scorer=options.pop("scorer", None))
    return evaluate(server, folder, task, **options)


def calls_in(sample: Any) -> list[Any]:
    """The calls to the model in a sample's transcript."""
    return [event for event in sample.events if event.event == "model"]


def in_words(body: dict[str, Any]) -> Any:
    """The fake model's reply to a schema that stands in the prompt; a sentence where there is none."""
    prompt = body["messages"][-1]["content"]
    if IN_WORDS not in prompt:
        return "It depends."
    schema: Schema = json.loads(prompt.split(IN_WORDS, 1)[1])
    return fill(schema, schema, "thing")
