"""The methods as solvers of Inspect AI: in any evaluation, with Inspect's model, limits and log."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
)
from inspect_ai.scorer import includes
from inspect_ai.solver import system_message

from matrix_align import METHODS, Answer, Scene
from matrix_align.errors import InputError
from matrix_align.evals.inspect.entry import SOLVERS

from .fake import FakeServer, completion, error
from .inspecting import QUIET, calls_in, evaluated, in_words, inspect_ai

pytestmark = QUIET
SMALL = {"roles": 2, "steps": 1}
ASKED = "How do I ask for a raise?"


def answer_in(sample: Any) -> Answer:
    return Answer.model_validate(sample.store["matrix_align"])


def test_a_scene_in_an_evaluation(server: FakeServer, tmp_path: Path) -> None:
    """The text is the output; the account is in the metadata, the answer with its scene in the store; Inspect counts
    every call. The conversation and Inspect's options reach the model.
    """
    chat = [
        ChatMessageSystem(content="Be kind."),
        ChatMessageUser(content="Hello."),
        ChatMessageAssistant(content="Hello!"),
        ChatMessageUser(content=ASKED),
    ]
    solver = [system_message("Be brief."), SOLVERS["matrix"](**SMALL)]
    samples = [Sample(input=chat, target="depends", metadata={"kind": "safe"})]
    options = {"temperature": 0.3, "max_tokens": 77, "seed": 5, "system_message": "Be calm."}
    log = evaluated(server, tmp_path, samples, solver, scorer=includes(), **options)
    assert log.status == "success"
    sample = log.samples[0]
    assert not sample.error, sample.error.message
    assert sample.output.completion == "It depends. Ask first."
    assert sample.messages[-1].text == sample.output.completion
    assert sample.scores["includes"].value == "C"

    answer = answer_in(sample)
    assert Scene.of(answer).critique
    assert (answer.method, answer.settings["roles"], answer.error) == ("matrix", 2, None)
    assert (answer.sampling.temperature, answer.sampling.max_tokens, answer.sampling.seed) == (0.3, 77, 5)
    assert answer.question.system == "Be calm.\n\nBe kind.\n\nBe brief."
    assert [turn.content for turn in answer.question.history] == ["Hello.", "Hello!"]
    account = sample.metadata["matrix_align"]
    assert sample.metadata["kind"] == "safe"
    assert (account["id"], account["calls"], account["depth"]) == (answer.id, len(answer.calls), answer.depth)

    assert len(calls_in(sample)) == len(server.requests) == len(answer.calls) > 6
    (used,) = sample.model_usage.values()
    assert used.total_tokens == account["prompt_tokens"] + account["completion_tokens"] == 110 * len(answer.calls)
    first = server.requests[server.kinds().index("text")]
    assert [turn["content"] for turn in first["messages"]] == [answer.question.system, "Hello.", "Hello!", ASKED]
    assert (first["temperature"], first["max_tokens"]) == (0.3, 77)
    assert all("Be calm" not in turn["content"] for body in server.requests[1:-1] for turn in body["messages"][:1])
    assert len({body["seed"] for body in server.requests}) == len(server.requests)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_a_solver_of_its_settings(name: str) -> None:
    parameters = inspect.signature(SOLVERS[name]).parameters
    assert list(parameters) == list(METHODS[name].settings.model_fields)
    # Inspect puts the package before it where it finds it installed; test_inspect_tasks.py gives whole names.
    assert inspect_ai.util.registry_info(SOLVERS[name]).name.removeprefix("matrix_align/") == name


def test_settings_that_no_method_takes() -> None:
    with pytest.raises(InputError, match=r"matrix_align/matrix: roles should be a whole number .got .many"):
        SOLVERS["matrix"](roles="many")
    with pytest.raises(InputError, match="has no setting 'rolls'; it has roles, steps"):
        SOLVERS["matrix"](rolls=3)


def test_a_failed_call_is_the_samples_error(server: FakeServer, tmp_path: Path) -> None:
    """The others go on. The calls before it are kept."""

    def revised(body: dict[str, Any]) -> Any:
        asked = body["messages"][-1]["content"]
        if "a pear" in str(body) and asked != "Can I have a pear?":
            return error(400, "no pears")
        return server.default(body)

    server.on["text"] = revised
    samples = [Sample(input="Can I have a pear?"), Sample(input="Can I have a plum?")]
    log = evaluated(server, tmp_path, samples, SOLVERS["matrix"](**SMALL))
    pear, plum = log.samples
    assert "no pears" in pear.error.message
    assert not pear.output.choices
    kept = answer_in(pear)
    assert kept.initial == "It depends. Ask first."
    assert kept.text is None
    assert "no pears" in str(kept.error)
    assert len(kept.calls) > 2
    assert plum.error is None
    assert plum.output.completion


def test_what_no_method_answers(server: FakeServer, tmp_path: Path) -> None:
    """A conversation that does not end in a user's text is the sample's error, and no call is made."""
    samples = [
        Sample(input=[ChatMessageUser(content="Hello."), ChatMessageAssistant(content="Hello!")]),
        Sample(input=[ChatMessageTool(content="42"), ChatMessageUser(content="So?")]),
        Sample(input=" "),
    ]
    log = evaluated(server, tmp_path, samples, SOLVERS["vanilla"]())
    ends, tool, empty = (sample.error.message for sample in log.samples)
    assert "does not end in one" in ends
    assert "other messages" in tool
    assert "the question is empty" in empty
    assert server.requests == []


def test_inspects_limits_hold(server: FakeServer, tmp_path: Path) -> None:
    """A token limit ends a scene as it ends any sample, and the answer so far is kept."""
    log = evaluated(server, tmp_path, [Sample(input=ASKED)], SOLVERS["matrix"](**SMALL), token_limit=600)
    sample = log.samples[0]
    assert sample.limit.type == "token"
    assert 600 < sum(used.total_tokens for used in sample.model_usage.values()) < 1300
    assert answer_in(sample).initial


def test_each_epoch_has_its_seed(server: FakeServer, tmp_path: Path) -> None:
    log = evaluated(server, tmp_path, [Sample(input=ASKED)], SOLVERS["vanilla"](), epochs=3, seed=7)
    assert sorted(answer_in(sample).sampling.seed for sample in log.samples) == [7, 8, 9]
    assert len({body["seed"] for body in server.requests}) == 3


@pytest.mark.parametrize("how", ["refuses", "ignores"])
def test_a_server_without_schemas_is_asked_in_words(server: FakeServer, tmp_path: Path, how: str) -> None:
    if how == "refuses":
        server.refuses = ("response_format",)
        server.on["text"] = in_words
    else:

        def prose(body: dict[str, Any]) -> Any:
            body = {name: value for name, value in body.items() if name != "response_format"}
            return completion(in_words(body))

        server.default = prose  # type: ignore[method-assign]
    log = evaluated(server, tmp_path, [Sample(input=ASKED)], SOLVERS["matrix"](**SMALL))
    assert log.samples[0].error is None
    assert Scene.of(answer_in(log.samples[0])).critique
