"""What a method is, and how it makes an answer of a question.

A method is one async generator, `(question, caller, settings) -> drafts`. It yields a draft each time the answer has
grown, and the last draft is complete. So a person can watch a scene grow, and a failed call leaves the draft before it.
Here is what all methods share: identity, the account of calls, failure. Knows no particular method.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from ..errors import MatrixAlignError, ModelError
from ..llm.caller import Caller
from ..llm.model import Model
from ..llm.prompts import Prompts
from ..types import Answer, Draft, Frozen, Question, Sampling, clean


@dataclass(frozen=True)
class Method:
    """`drafts` is the method itself, `settings` the class of its settings, `prompts` all prompts that it fills in."""

    name: str
    drafts: Callable[[Question, Caller, Any], AsyncIterator[Draft]]
    settings: type[Frozen]
    prompts: tuple[Prompts, ...] = ()

    @property
    def digest(self) -> str:
        """The digest of this method's prompts. A change to prompts that it does not fill in does not change it."""
        digests = [prompts.digest for prompts in self.prompts]
        if len(digests) < 2:
            return "".join(digests)
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()


@dataclass(frozen=True)
class Setup:
    """A method with its settings and its sampling: all that decides an answer beside the question and the model."""

    method: Method
    settings: Frozen
    sampling: Sampling = field(default_factory=Sampling)

    async def answer(self, question: Question, model: Model, writer: Model | None = None) -> AsyncIterator[Answer]:
        """Yields the answer to `question` each time it has grown. The last one is complete.

        `writer` is the same model, which shows the answer while it writes it (see `Caller`).

        If a call fails, this yields the answer so far with its error, and then raises the error (a MatrixAlignError).
        """
        caller = Caller(model, self.sampling, writer)
        answer = self.begun(question, model)
        try:
            async for draft in self.method.drafts(question, caller, self.settings):
                answer = answer.evolve(calls=tuple(caller.calls), **dict(draft))
                yield answer
        except MatrixAlignError as error:
            yield answer.evolve(calls=tuple(caller.calls), error=f"{type(error).__name__}: {error}")
            raise

    def begun(self, question: Question, model: Model) -> Answer:
        """The answer before its first call."""
        return Answer(
            id=self.id(question, model),
            method=self.method.name,
            model=clean(model.name),
            digest=model.digest,
            question=question,
            settings=self.settings.model_dump(mode="json"),
            sampling=self.sampling,
        )

    def id(self, question: Question, model: Model) -> str:
        """The id of the answer: a hash of everything that decides an answer, and of nothing else."""
        decided_by = [
            question.model_dump_json(),
            self.method.name,
            self.method.digest,
            self.settings.model_dump_json(),
            self.sampling.model_dump_json(),
            model.name,
            model.digest,
        ]
        return hashlib.sha256("\n".join(decided_by).encode()).hexdigest()[:16]

    def flat(self) -> dict[str, JsonValue]:
        """The settings of the method and of its sampling together; no name is in both."""
        return {**self.settings.model_dump(mode="json"), **self.sampling.model_dump(mode="json")}

    def tables(self) -> dict[str, dict[str, Any]]:
        """What decides the answers, as tables of a TOML file."""
        return {
            "method": {"name": self.method.name, "prompts": self.method.digest},
            "settings": self.settings.model_dump(mode="json"),
            "sampling": self.sampling.model_dump(mode="json"),
        }


async def last(answers: AsyncIterator[Answer]) -> tuple[Answer, ModelError | None]:
    """The complete answer; or, if a call failed, the answer so far and the error."""
    answer: Answer | None = None
    failure: ModelError | None = None
    try:
        async for answer in answers:
            pass
    except ModelError as error:
        failure = error
    assert answer, "a method yields an answer, at least with its error"
    return answer, failure
