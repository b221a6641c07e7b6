"""The JSON schema of a reply type, in the form that structured output takes.

A class's schema is made once. If a call allows only some values of a field (`Within`), a copy of the schema lists them.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pydantic import BaseModel

from .structured import BRIEF, Allowed, Wanted, Within, class_of

Schema = dict[str, Any]

LENGTHS = {"minLength", "maxLength", "minItems", "maxItems"}


def schema_of(wanted: Wanted[Any]) -> Schema:
    """The JSON schema of a reply type, without titles. Its objects take no further properties."""
    schema = _class_schema(class_of(wanted), isinstance(wanted, Within) and wanted.brief)  # type: ignore[arg-type]
    return _allowing(schema, wanted.allowed) if isinstance(wanted, Within) and wanted.allowed else schema


def plain_schema_of(wanted: Wanted[Any]) -> Schema:
    """The schema without limits on lengths and numbers of items, which some servers reject."""
    schema: Schema = _without(schema_of(wanted), LENGTHS)
    return schema


def instruction(wanted: Wanted[Any]) -> str:
    """The instruction for a model whose server accepts no schema."""
    return f"Reply with one JSON object of this JSON schema, and nothing else:\n{json.dumps(schema_of(wanted))}"


@cache  # classes are few: made at import, or once for each number of roles and steps
def _class_schema(reply: type[BaseModel], brief: bool) -> Schema:
    schema: Schema = _tidy(reply.model_json_schema())
    return _brief(schema) if brief else schema


def _tidy(node: Any) -> Any:
    """A node of a schema without titles, descriptions and defaults, which are for people; its objects closed."""
    if isinstance(node, list):
        return [_tidy(each) for each in node]
    if not isinstance(node, dict):
        return node
    tidy: Schema = {}
    for key, each in node.items():
        if key in ("properties", "$defs"):  # the keys inside are our names, not words of JSON Schema
            tidy[key] = {name: _tidy(inner) for name, inner in each.items()}
        elif key not in ("title", "description", "default"):
            tidy[key] = _tidy(each)
    if "properties" in tidy:
        tidy["required"] = list(tidy["properties"])
        tidy["additionalProperties"] = False
    return tidy


def _brief(node: Any) -> Any:
    """A node of a schema with the lengths of brief texts."""
    if isinstance(node, list):
        return [_brief(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: BRIEF.get(each, each) if key == "maxLength" and isinstance(each, int) else _brief(each)
        for key, each in node.items()
    }


def _allowing(schema: Schema, allowed: Allowed) -> Schema:
    """An object's schema that lists the allowed values of its fields, also in the objects inside it."""
    changed = dict(schema)
    changed["properties"] = {
        name: _one_of(node, allowed[name]) if name in allowed else node for name, node in schema["properties"].items()
    }
    if "$defs" in schema:
        changed["$defs"] = {name: _allowing(each, allowed) for name, each in schema["$defs"].items()}
    return changed


def _one_of(node: Schema, values: tuple[str | int, ...]) -> Schema:
    if node["type"] == "array":  # each value at most once
        return {**node, "items": _one_of(node["items"], values), "maxItems": len(values)}
    return {"type": node["type"], **({"enum": list(values)} if len(values) > 1 else {"const": values[0]})}


def _without(node: Any, keys: set[str]) -> Any:
    if isinstance(node, list):
        return [_without(each, keys) for each in node]
    if isinstance(node, dict):
        return {key: _without(each, keys) for key, each in node.items() if key not in keys}
    return node
