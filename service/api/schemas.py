"""The JSON schemas of the document: of structs as decoding checks them, of bodies, and of acts that come by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from service.action import Action, action_name

COMPONENTS = "#/components/schemas/"
#: Components that the document writes itself, whoever refers to them.
_OURS = ("Receipt", "Problem")
EXPECTED = "expected_version"
"""Member of an act that comes by name, beside those of its action: the version its subject must have (S012)."""
_EXPECTED: dict[str, Any] = {
    "type": "integer",
    "minimum": 0,
    "description": "The version its subject must have.",
}
#: What in the document is a value and no schema.
_VALUES = frozenset({"example", "examples", "default"})


def named(name: str) -> dict[str, str]:
    """A reference to the component of this name."""
    return {"$ref": f"{COMPONENTS}{name}"}


def schemas_of(kinds: Iterable[type[Any]]) -> tuple[dict[type[Any], dict[str, Any]], dict[str, Any]]:
    """The JSON schemas of structs, as decoding checks them, and those of the structs inside them, by component name."""
    listed = list(kinds)
    references, components = msgspec.json.schema_components(listed, ref_template=f"{COMPONENTS}{{name}}")
    found: dict[type[Any], dict[str, Any]] = {}
    for kind, reference in zip(listed, references, strict=True):
        found[kind] = components.pop(reference["$ref"].removeprefix(COMPONENTS))
    return found, components


def joined(
    kinds: Iterable[type[Any]], owner: str, schemas: dict[str, Any]
) -> dict[type[Any], dict[str, Any]]:
    """Return the schemas of structs after adding those inside them; where another has a name, `owner` goes before it."""
    own, inner = schemas_of(kinds)
    taken = [name for name, one in inner.items() if name not in _OURS and schemas.get(name, one) != one]
    text = msgspec.json.encode([list(own.values()), inner]).decode()
    for name in taken:
        text = text.replace(f'"{COMPONENTS}{name}"', f'"{COMPONENTS}{owner}{name}"')
    renamed, parts = msgspec.json.decode(text)
    for name, one in parts.items():
        if name not in _OURS:
            called = f"{owner}{name}" if name in taken else name
            schemas[called] = one | {"title": called}
    return dict(zip(own, renamed, strict=True))


def bodies(by_path: Mapping[type[Action], Sequence[str]], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of each action's body: its members but for those named by the path, which `by_path` says."""
    found: dict[str, Any] = {}
    for action, schema in joined(by_path, "Asked", schemas).items():
        out = {*by_path[action], "action"}
        body = {
            name: value for name, value in schema.items() if name not in {"required", "description", "title"}
        }
        body["title"] = action_name(action)
        body["properties"] = {name: one for name, one in schema["properties"].items() if name not in out}
        if required := [name for name in schema.get("required", ()) if name not in out]:
            body["required"] = required
        found[action_name(action)] = body
    return found


def acts(name: str, kinds: Iterable[type[Action]], schemas: dict[str, Any]) -> dict[str, Any]:
    """The component `name`, one of these acts by its `action`, and one component more for each: all its members."""
    found: dict[str, Any] = {}
    for action, schema in joined(kinds, "Asked", schemas).items():
        called = action_name(action)
        told = {"action": {"type": "string", "enum": [called]}, EXPECTED: _EXPECTED}
        found[f"act.{called}"] = schema | {
            "title": f"act.{called}",
            "properties": schema["properties"] | told,
        }
    return found | {
        name: {
            "title": name,
            "description": "An act by its name, with the members of its own route's path and body.",
            "oneOf": [named(one) for one in found],
            "discriminator": {
                "propertyName": "action",
                "mapping": {one.removeprefix("act."): f"{COMPONENTS}{one}" for one in found},
            },
        }
    }


def told(
    item: dict[str, Any], kinds: Mapping[str, type[msgspec.Struct]], schemas: dict[str, Any]
) -> dict[str, Any]:
    """The component of one effect, whose schema but for what it says is `item`, and one component more for each kind.

    Any other kind is an effect too: one that a later version adds must not end a reader.
    """
    payloads = joined(dict.fromkeys(kinds.values()), "Told", schemas)
    found: dict[str, Any] = {}
    for kind, payload in kinds.items():
        said = {name: one for name, one in payloads[payload].items() if name not in {"title", "description"}}
        found[f"effect.{kind}"] = item | {
            "title": f"effect.{kind}",
            "description": payloads[payload]["description"],
            "properties": item["properties"] | {"kind": {"type": "string", "enum": [kind]}, "payload": said},
        }
    other = item["properties"] | {"payload": {"type": "object"}}
    later = "effect.other"
    found[later] = item | {
        "title": later,
        "description": "Of a kind that this version does not know: pass over it.",
        "properties": other,
    }
    return found | {
        item["title"]: {
            "title": item["title"],
            "description": item["description"],
            "anyOf": [named(one) for one in found],
        }
    }


def opened(part: Any) -> Any:
    """Say of each object of which nothing is said that it may hold anything: some tools take it for an empty one."""
    if isinstance(part, list):
        return [opened(one) for one in part]
    if not isinstance(part, dict):
        return part
    out = {name: one if name in _VALUES else opened(one) for name, one in part.items()}
    if part.get("type") == "object" and not part.keys() & {"properties", "additionalProperties"}:
        out["additionalProperties"] = True
    return out


def used(found: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schemas that anything refers to, directly or by others."""
    reached: set[str] = set()
    waiting = _names_in(
        [found["paths"], {name: part for name, part in found["components"].items() if name != "schemas"}]
    )
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += _names_in(schemas[name])
    return {name: schemas[name] for name in reached}


def _names_in(part: Any) -> list[str]:
    return re.findall(r'"#/components/schemas/([^"]+)"', msgspec.json.encode(part).decode())
