"""The model that Inspect AI evaluates, as our `Model`.

Each call goes through `inspect_ai.model.Model.generate`. So Inspect's limits, cache, retries, count of tokens and
transcript hold for every call of a method. Owns how a request and an output are written in Inspect's terms. Errors that
Inspect raises for its own reasons (a limit, a server that stays away) go through as they are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentReasoning,
    GenerateConfig,
    ModelOutput,
    ResponseSchema,
)
from inspect_ai.model import Model as Inspected
from inspect_ai.model._model import ModelGenerateError
from inspect_ai.util import JSONSchema

from ...errors import ContextOverflow, ModelError, Refused
from ...llm.asker import Asker
from ...llm.completion import Completion, Ended
from ...llm.dialect import Chat
from ...llm.failures import Failure, error_of
from ...llm.reasoning import part
from ...llm.structured import Wanted
from ...llm.writing import Writing
from ...types import Sampling, Usage, clean, shorten

ENDED: dict[str, Ended] = {"stop": "stop", "max_tokens": "length", "content_filter": "filter"}
MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}


class InspectModel(Asker):
    """Inspect's `model` behind `Model.ask`. Its weights are not known, so the digest is empty.

    A typed reply is asked for by a `ResponseSchema`. If the provider refuses it, or its replies show that it ignores
    it, the reply is asked for in words.
    """

    def __init__(self, model: Inspected) -> None:
        super().__init__(str(model), "", str(model))
        self._model = model

    async def _complete(
        self, chat: Chat, reply: Wanted[Any], sampling: Sampling, room: int, turn: int, writing: Writing | None
    ) -> Completion:
        dialect = self._dialect
        form = dialect.form(reply)
        while True:
            request = dialect.request(chat, reply, form, sampling, room, turn)
            try:
                output = await self._model.generate(_messages(request), config=_config(request))
            except ModelGenerateError as error:
                refusal = self._refusal(error)
                if not isinstance(refusal, Refused) or isinstance(refusal, ContextOverflow):
                    raise refusal from error
                form = dialect.refused(refusal, chat, reply, form)
                if request == dialect.request(chat, reply, form, sampling, room, turn):
                    raise refusal from error
                continue
            if output.choices and output.stop_reason == "model_length":  # the text is the server's refusal
                raise ContextOverflow(f"{self.name}: {shorten(output.completion, 300) or 'the prompt is too long'}")
            completion = completion_of(output)
            if completion.ended != "filter":
                dialect.answered(completion.text, reply, form)
            return completion

    def _refusal(self, error: ModelGenerateError) -> ModelError:
        words = error.provider_message or str(error)
        return error_of(Failure(error.status_code or 400, words), self.name, shorten(clean(words), 300))


@lru_cache(maxsize=16)  # what one sample learned of a provider holds for the next
def adapter(model: Inspected) -> InspectModel:
    """The adapter of `model`, the same one for all samples."""
    return InspectModel(model)


def completion_of(output: ModelOutput) -> Completion:
    """Inspect's output as a completion: text, reasoning, how it ended, usage."""
    used = output.usage
    usage = Usage(seconds=output.time or 0.0, requests=1)
    if used:
        cached = used.input_tokens_cache_read or 0
        read = used.input_tokens + cached + (used.input_tokens_cache_write or 0)
        counts = {"prompt_tokens": read, "cached_tokens": cached, "completion_tokens": used.output_tokens}
        usage = usage.model_copy(update=counts)
    if not output.choices:
        return Completion("", "", "", usage)
    content = output.message.content
    blocks = [] if isinstance(content, str) else content
    thoughts = [block.reasoning for block in blocks if isinstance(block, ContentReasoning)]
    parted = part(clean(output.message.text))
    reasoning = "\n".join(filter(None, [*map(clean, thoughts), parted.reasoning]))
    return Completion(parted.answer, reasoning, ENDED.get(output.stop_reason, ""), usage, parted.stray)


def _messages(request: dict[str, Any]) -> list[ChatMessage]:
    return [MESSAGES[turn["role"]](content=turn["content"]) for turn in request["messages"]]


def _config(request: dict[str, Any]) -> GenerateConfig:
    """The request's own part of Inspect's configuration. What is left out is the evaluation's.

    An empty system message keeps the evaluation's out of the method's own prompts. It is part of the question.
    """
    shape = request.get("response_format", {}).get("json_schema")
    schema = None
    if shape:
        inlined = JSONSchema.model_validate(_inlined(shape["schema"], shape["schema"].get("$defs", {})))
        schema = ResponseSchema(name=shape["name"], json_schema=inlined, strict=shape["strict"])
    return GenerateConfig(
        system_message="",
        max_tokens=request.get("max_tokens", request.get("max_completion_tokens")),
        temperature=request.get("temperature"),
        seed=request.get("seed"),
        response_schema=schema,
    )


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """A schema in the words that Inspect's JSONSchema has: without references, and a constant as an enum of one."""
    if isinstance(node, list):
        return [_inlined(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    inlined = {key: _inlined(each, definitions) for key, each in node.items() if key not in ("$defs", "const")}
    return {**inlined, "enum": [node["const"]]} if "const" in node else inlined
