"""Instants in answers: all written in one way, and described as what they are."""

from __future__ import annotations

import datetime as dt
from typing import Any

from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from service.clock import InstantText, instant_text


def with_instants(value: Any) -> Any:
    """What an answer holds, its instants as `instant_text` writes them.

    msgspec would write each with as many decimals as it needs, and lets nobody say otherwise.
    """
    if isinstance(value, dict):
        return {name: one if type(one) is str else with_instants(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [one if type(one) is str else with_instants(one) for one in value]
    return instant_text(value) if isinstance(value, dt.datetime) else value


class InstantTexts(OpenAPISchemaPlugin):
    """Says of a text that is an instant what it is: the framework drops what its annotation says."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Take members of type `InstantText`."""
        return field_definition.raw == InstantText

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """The schema that instants have wherever they are told."""
        del field_definition, schema_creator
        return Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME)
