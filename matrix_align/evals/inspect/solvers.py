"""The methods as solvers of Inspect AI: `matrix_align/matrix`, `matrix_align/vanilla`, and so on.

A solver's arguments are the settings of its method. Temperature, length and seed are Inspect's own options. The solver
answers the last message of the sample's conversation. Owns where the answer is left: the text is the sample's output,
the account is in its metadata, and the whole answer is in its store.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.model._generate_config import active_generate_config
from inspect_ai.solver import Generate, Solver, TaskState, solver
from pydantic import ValidationError

from ...errors import InputError
from ...methods import METHODS, Method, Setup
from ...plain import fault_in
from ...types import Answer, Sampling
from .conversation import KEPT, account, output_of, question_of
from .model import adapter

SEED = 2**31  # seeds are below


def _solver_of(method: Method) -> Callable[..., Solver]:
    """The method as a registered solver, whose parameters are the method's settings."""

    def made(**settings: Any) -> Solver:
        given = _settings(method, settings)

        async def solve(state: TaskState, generate: Generate) -> TaskState:
            if state.tools:
                raise InputError(f"{KEPT}/{method.name} answers without tools; take a task, or a chain, that has none")
            model = get_model()
            config = model.config.merge(active_generate_config())
            question = question_of(state.messages, state.sample_id, config.system_message)
            setup = Setup(method, given, _sampling(config, state.epoch))
            answer: Answer | None = None
            try:
                async for answer in setup.answer(question, adapter(model)):
                    pass
            finally:
                if answer:
                    _keep(state, answer)
            assert answer and answer.text is not None, "a method that raises nothing has answered"
            state.output = output_of(answer)
            state.messages.append(state.output.message)
            return state

        return solve

    fields = method.settings.model_fields.items()
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields}
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_plain(default))
        for name, default in defaults.items()
    ]
    made.__signature__ = inspect.Signature(parameters, return_annotation=Solver)  # type: ignore[attr-defined]
    made.__name__ = made.__qualname__ = method.name
    made.__doc__ = method.drafts.__doc__ or f"Answers by the method {method.name}."
    registered: Callable[..., Solver] = solver(method.name)(made)
    return registered


def _keep(state: TaskState, answer: Answer) -> None:
    state.metadata = {**state.metadata, KEPT: account(answer)}
    state.store.set(KEPT, answer.model_dump(mode="json"))


def _settings(method: Method, given: dict[str, Any]) -> Any:
    """The settings. One text where a list is wanted is a list of one, since `-S without=gate` gives a text."""
    names = list(method.settings.model_fields)
    if unknown := next((name for name in given if name not in names), None):
        there = f"it has {', '.join(names)}" if names else "it has none"
        raise InputError(f"{KEPT}/{method.name} has no setting {unknown!r}; {there}")
    fields = method.settings.model_fields
    lists = {name for name in given if isinstance(fields[name].get_default(call_default_factory=True), tuple)}
    given = {name: [value] if name in lists and isinstance(value, str) else value for name, value in given.items()}
    try:
        return method.settings.model_validate(given)
    except ValidationError as error:
        raise InputError(f"{KEPT}/{method.name}: {fault_in(error)}") from None


def _sampling(config: GenerateConfig, epoch: int) -> Sampling:
    """Inspect's options, and our defaults where they are not given. Each epoch has a seed of its own."""
    given = {"temperature": config.temperature, "max_tokens": config.max_tokens}
    seed = ((config.seed or 0) + epoch - 1) % SEED
    return Sampling(seed=seed, **{name: value for name, value in given.items() if value is not None})


def _plain(value: Any) -> Any:
    """A default as a log can show it."""
    return list(value) if isinstance(value, tuple) else value


SOLVERS = {name: _solver_of(method) for name, method in METHODS.items()}
