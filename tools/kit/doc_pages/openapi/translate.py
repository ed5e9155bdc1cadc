"""From the types of requests and answers to JSON Schema.

msgspec makes schemas as well, but of no type that it can only encode: a union of structs without tags, such as the two
kinds of tool calls.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UnsetType

REF = "#/components/schemas/{name}"

Schema = dict[str, Any]

PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
    object: {},
    msgspec.Raw: {},
    None: {"type": "null"},
    type(None): {"type": "null"},
    Any: {},
}


def reference(name: str) -> Schema:
    """A reference to the schema of that name."""
    return {"$ref": REF.format(name=name)}


class Translator:
    """Collects the schemas of structs by their names; `add` a type to have it and all that it mentions."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._structs: dict[str, type[msgspec.Struct]] = {}
        self._by_origin: dict[Any, Callable[[tuple[Any, ...]], Schema]] = {
            list: lambda arguments: {"type": "array", "items": self.add(arguments[0])},
            Sequence: lambda arguments: {"type": "array", "items": self.add(arguments[0])},
            tuple: lambda arguments: {"type": "array", "items": self.add(arguments[0])},
            Mapping: lambda arguments: {"type": "object", **self._values(arguments[1])},
            dict: lambda arguments: {"type": "object", **self._values(arguments[1])},
            Literal: lambda arguments: {"enum": list(arguments)},
            Union: self._union,
            types.UnionType: self._union,
            Annotated: lambda arguments: self.add(arguments[0]),
        }

    def add(self, annotation: Any) -> Schema:
        """The schema of a type. Raises KeyError for one that has none here, and ValueError for a second struct of a
        name."""
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            self._add_struct(annotation)
            return reference(annotation.__name__)
        origin = get_origin(annotation)
        return PLAIN[annotation] if origin is None else self._by_origin[origin](get_args(annotation))

    def _union(self, members: tuple[Any, ...]) -> Schema:
        schemas = [self.add(member) for member in members if member is not UnsetType]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def _values(self, annotation: Any) -> Schema:
        schema = self.add(annotation)
        return {"additionalProperties": schema} if schema else {}

    def _add_struct(self, struct: type[msgspec.Struct]) -> None:
        name = struct.__name__
        if self._structs.setdefault(name, struct) is not struct:
            raise ValueError(f"{struct.__module__} and {self._structs[name].__module__} both have a {name}")
        if name in self.schemas:
            return
        self.schemas[name] = {}  # a place for it, so that what mentions itself ends
        config = struct.__struct_config__
        properties: dict[str, Schema] = {}
        required: list[str] = []
        if config.tag is not None:
            properties[config.tag_field or "type"] = {"const": config.tag}
            required.append(config.tag_field or "type")
        for field in msgspec.structs.fields(struct):
            properties[field.encode_name] = self.add(field.type)
            if field.default is NODEFAULT and field.default_factory is NODEFAULT:
                required.append(field.encode_name)
        schema: Schema = {"type": "object", "properties": properties, "required": required}
        if config.forbid_unknown_fields:
            schema["additionalProperties"] = False
        self.schemas[name] = schema
