"""The schema that is sent for a typed reply, and the values that one call allows in it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from matrix_align.llm.model import Scripted
from matrix_align.llm.schema import instruction, plain_schema_of, schema_of
from matrix_align.llm.structured import FromModel, Within, parse
from matrix_align.simulation.types import Aftermath, Cast, Critique, Plan, Point, Role, Situation, Verdict
from matrix_align.types import Message, Sampling


class Shelf(FromModel):
    """Has fields whose names also mean something in a schema."""

    title: str = Field("", description="What it says on top", title="Heading")
    description: str | None = None
    items: tuple[Role, ...] = ()
    counts: dict[str, int] | None = None


CLASSES: list[type[BaseModel]] = [Situation, Cast, Plan, Verdict, Aftermath, Critique, Shelf]
VERDICT = {"feasible": True, "outcome": "o", "observers": ["Ann"], "harm": "", "ending": "goes on"}


def nodes(schema: Any) -> list[dict[str, Any]]:
    """All of a schema's own nodes. What `properties` and `$defs` name are fields and classes, not keywords."""
    if not isinstance(schema, dict):
        return []
    below = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", [])]
    below += [schema.get("items"), schema.get("additionalProperties")]
    return [schema, *(each for child in below for each in nodes(child))]


@pytest.mark.parametrize("reply", CLASSES)
@pytest.mark.parametrize("made_by", [schema_of, plain_schema_of])
def test_schema_is_closed_and_wants_all(reply: type[BaseModel], made_by: Any) -> None:
    schema = made_by(reply)
    assert schema["type"] == "object"
    assert set(schema["properties"]) == set(reply.model_fields)
    for node in nodes(schema):
        assert not node.keys() & {"title", "description"}, "they are for people, and cost tokens"
        if "properties" in node:
            assert node["required"] == list(node["properties"])
            assert node["additionalProperties"] is False


@pytest.mark.parametrize("reply", CLASSES)
def test_schema_has_no_defaults(reply: type[BaseModel]) -> None:
    """Strict structured output rejects defaults, and a required field needs none."""
    assert not [node for node in nodes(schema_of(reply)) if "default" in node]


@pytest.mark.parametrize("reply", CLASSES)
def test_plain_schema_is_the_same_without_lengths(reply: type[BaseModel]) -> None:
    limits = {"minLength", "maxLength", "minItems", "maxItems"}
    without = [{key: None for key in node if key not in limits} for node in nodes(schema_of(reply))]
    assert [dict.fromkeys(node) for node in nodes(plain_schema_of(reply))] == without


def test_schema_keeps_the_limits() -> None:
    steps = schema_of(Plan)["properties"]["steps"]
    assert steps["minItems"] == 1
    assert schema_of(Plan)["$defs"]["Step"]["properties"]["act"]["maxLength"] == 300


def test_instruction_holds_the_schema() -> None:
    assert json.loads(instruction(Plan).rsplit("\n", 1)[1]) == schema_of(Plan)


def spelled_out(wanted: Within[Any]) -> type[BaseModel]:
    """The same as a class of its own, as pydantic writes it."""
    if wanted.reply is Critique:
        number: Any = Literal[wanted.allowed["incidents"]]
        numbers: Any = Annotated[tuple[number, ...], Field(max_length=len(wanted.allowed["incidents"]))]
        point: Any = create_model("Point", __base__=Point, incidents=(numbers, ...))
        return create_model("Critique", __base__=Critique, points=(tuple[point, ...], ...))
    names, endings = wanted.allowed["observers"], wanted.allowed["ending"]
    name: Any = Literal[names]
    ending: Any = Literal[endings]
    observers: Any = (Annotated[tuple[name, ...], Field(max_length=len(names))], ...)
    return create_model("Verdict", __base__=Verdict, observers=observers, ending=(ending, ...))


ALLOWED: list[Within[Any]] = [
    Within(Verdict, {"observers": ("Ann", "Bob"), "ending": ("goes on", "stopped")}),
    Within(Verdict, {"observers": ('The "Door"',), "ending": ("goes on",)}),
    Within(Critique, {"incidents": (1, 2, 3)}),
    Within(Critique, {"incidents": (1,)}),
]


@pytest.mark.parametrize("wanted", ALLOWED)
def test_schema_allows_what_the_call_does(wanted: Within[Any]) -> None:
    """The schema is the same as that of a class made for this one call, but no class is made."""
    assert schema_of(wanted) == schema_of(spelled_out(wanted))
    assert plain_schema_of(wanted) == plain_schema_of(spelled_out(wanted))
    assert schema_of(wanted.reply) != schema_of(wanted), "the class's own schema is left as it was"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"observers": ["Ann", "Eve"]}, "observers: Value error, 'Eve' is none of 'Ann', 'Bob'"),
        ({"ending": "nothing more"}, "ending: Value error, 'nothing more' is none of 'goes on', 'stopped'"),
        ({"ending": "at last"}, "ending: Input should be"),
        ({"observers": "Ann"}, "observers: "),
    ],
)
async def test_what_the_call_does_not_allow_is_no_reply(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        parse(json.dumps(VERDICT | changes), ALLOWED[0])
    assert told in str(caught.value)
    with pytest.raises(Exception, match="does not fit Verdict"):
        await Scripted(VERDICT | changes).ask(
            [Message(role="user", content="?")], ALLOWED[0], Sampling(temperature=0, max_tokens=9, seed=0)
        )


def test_what_the_call_allows_is_a_reply_of_the_class_itself() -> None:
    verdict = parse(json.dumps(VERDICT | {"observers": ["Bob", "Ann", "Bob"]}), ALLOWED[0])
    assert type(verdict) is Verdict
    assert verdict.observers == ("Bob", "Ann"), "each once"


@pytest.mark.parametrize("incident", [0, 4, True, "1", 1.0, None])
def test_a_point_rests_on_events_that_are_there(incident: Any) -> None:
    point = {"incidents": [incident], "quotes": [], "problem": "p", "change": "c"}
    with pytest.raises(ValueError, match=r"points\.0\.incidents"):
        parse(json.dumps({"points": [point]}), ALLOWED[2])
