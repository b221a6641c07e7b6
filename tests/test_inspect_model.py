"""The model that Inspect AI evaluates, behind `Model.ask`: what an output means, and what is asked again."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from inspect_ai.model import ContentReasoning, ContentText, ModelOutput, ModelUsage, get_model

from matrix_align import Message, Sampling
from matrix_align.errors import BadReply, ContextOverflow
from matrix_align.evals.inspect.model import InspectModel
from matrix_align.llm.structured import FromModel, Line, Within

from .inspecting import QUIET

pytestmark = QUIET
ASKED = [Message(role="user", content="Which fruit?")]
SAMPLING = Sampling(max_tokens=50)


class Seed(FromModel):
    colour: Literal["brown", "white"]
    place: Line


class Fruit(FromModel):
    kind: Literal["fruit"]
    name: Line
    seeds: tuple[Seed, ...]


FIG = '{"kind": "fruit", "name": "fig", "seeds": [{"colour": "white", "place": "core"}]}'


def replying(*outputs: Any) -> tuple[InspectModel, list[Any]]:
    """A model that gives these outputs in turn, and the (messages, config) of each call."""
    left, calls = list(outputs), []

    def reply(messages: Any, tools: Any, tool_choice: Any, config: Any) -> Any:
        calls.append((messages, config))
        return left.pop(0)

    return InspectModel(get_model("mockllm/model", custom_outputs=reply, memoize=False)), calls


def output(content: Any, stop_reason: str = "stop") -> Any:
    made = ModelOutput.from_content("mockllm/model", content, stop_reason=stop_reason)
    made.usage = ModelUsage(input_tokens=60, input_tokens_cache_read=40, output_tokens=10, total_tokens=110)
    return made


async def test_a_typed_reply() -> None:
    """The schema has no references, which Inspect's schemas don't know. Allowed values are in it."""
    model, calls = replying(output(FIG))
    reply = await model.ask(ASKED, Within(Fruit, {"name": ("fig", "plum")}), SAMPLING)
    assert (reply.value.name, reply.value.seeds[0].colour) == ("fig", "white")
    assert (reply.usage.prompt_tokens, reply.usage.cached_tokens, reply.usage.completion_tokens) == (100, 40, 10)
    schema = calls[0][1].response_schema
    asked = schema.json_schema.model_dump(exclude_none=True)
    assert schema.name == "Fruit"
    assert asked["properties"]["kind"]["enum"] == ["fruit"]
    assert asked["properties"]["name"]["enum"] == ["fig", "plum"]
    assert asked["properties"]["seeds"]["items"]["properties"]["colour"]["enum"] == ["brown", "white"]


async def test_reasoning_is_apart() -> None:
    model, _ = replying(output([ContentReasoning(reasoning="Hm."), ContentText(text="<think>So.</think>A fig.")]))
    reply = await model.ask(ASKED, str, SAMPLING)
    assert (reply.value, reply.reasoning) == ("A fig.", "Hm.\nSo.")


async def test_a_cut_object_gets_more_room_and_a_bad_one_its_fault() -> None:
    model, calls = replying(output(FIG[:20], "max_tokens"), output('{"kind": "tree"}'), output(FIG))
    reply = await model.ask(ASKED, Fruit, SAMPLING)
    assert reply.usage.requests == 3
    assert [config.max_tokens for _, config in calls] == [50, 200, 200]
    assert "can't be used" in calls[2][0][-1].text
    assert len({config.seed for _, config in calls}) == 3


async def test_a_cut_text_is_known_as_cut() -> None:
    model, _ = replying(output("A fig is", "max_tokens"))
    assert (await model.ask(ASKED, str, SAMPLING)).cut == "length"
    model, _ = replying(output("A fig", "content_filter"))
    assert (await model.ask(ASKED, str, SAMPLING)).cut == "filter"


async def test_failures() -> None:
    model, _ = replying(output("too long", "model_length"))
    with pytest.raises(ContextOverflow, match="too long"):
        await model.ask(ASKED, str, SAMPLING)
    model, _ = replying(*[output("A fig.")] * 3)
    with pytest.raises(BadReply, match="no whole JSON object"):
        await model.ask(ASKED, Fruit, SAMPLING)
    model, _ = replying(*[ModelOutput(model="mockllm/model", usage=ModelUsage())] * 3)
    with pytest.raises(BadReply, match="empty"):
        await model.ask(ASKED, str, SAMPLING)
