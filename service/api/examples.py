"""Examples of what reads answer, made of their schemas: plausible, and the same each time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SCHEMAS = "#/components/schemas/"
_TEXTS = {
    "date-time": "2026-11-02T08:00:00.000Z",
    "date": "2026-11-02",
    "uri": "https://example.org/",
    "uuid": "019a45b0-7ab0-7000-8000-3f2c8a546c0e",
}


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int = 0) -> Any:
    """A plausible value of a schema, the same each time; None where it says nothing or goes on for ever."""
    if depth > 8:
        return None
    if "$ref" in schema:
        return example_of(schemas.get(schema["$ref"].removeprefix(_SCHEMAS), {}), schemas, depth + 1)
    for name in ("const", "default"):
        if schema.get(name) is not None:
            return schema[name]
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    for name in ("oneOf", "anyOf", "allOf"):
        if schema.get(name):
            choices = [one for one in schema[name] if one.get("type") != "null"]
            return example_of(choices[0], schemas, depth + 1)
    kinds = schema.get("type")
    kind = next((one for one in kinds if one != "null"), None) if isinstance(kinds, list) else kinds
    return _value(kind, schema, schemas, depth)


def _value(kind: str | None, schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: example_of(one, schemas, depth + 1) for name, one in properties.items()}
    if kind == "array":
        item = example_of(schema["items"], schemas, depth + 1) if "items" in schema else None
        return [] if item is None else [item]
    if kind == "string":
        return _TEXTS.get(schema.get("format", ""), "text")
    return {"integer": schema.get("minimum", 1), "number": 1.0, "boolean": True}.get(kind or "")
