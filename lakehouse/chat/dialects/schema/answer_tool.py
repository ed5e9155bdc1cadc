"""The tool whose arguments are a structured answer, for providers that enforce a schema only on tools."""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_string, encode_json
from lakehouse.chat.dialects.tool_calls import parse_arguments
from lakehouse.chat.model.tool_calls import AnyToolCall

ANSWER_TOOL = "structured_answer"
"""The tool whose arguments are the answer. No tool of a caller may have this name."""

WRAPPED_ANSWER_TOOL = "structured_answer_value"
"""The same for a schema of something other than an object: the answer is the argument `value`."""


def build_answer_tool(schema: JsonObject, description: str) -> JsonObject:
    """Return the tool with `schema` as its parameters, in OpenAI's shape."""
    name, parameters = ANSWER_TOOL, schema
    if schema.get("type") != "object":
        name, inner = WRAPPED_ANSWER_TOOL, {key: value for key, value in schema.items() if key != "$defs"}
        parameters = {"type": "object", "properties": {"value": inner}, "required": ["value"]}
        if "$defs" in schema:
            parameters["$defs"] = schema["$defs"]
    function = {"name": name, "description": description or "The final answer.", "parameters": parameters}
    return {"type": "function", "function": function}


def is_answer_tool(name: str) -> bool:
    """Return whether a call of the tool `name` is a structured answer."""
    return name in (ANSWER_TOOL, WRAPPED_ANSWER_TOOL)


def unwrap_answer(call: AnyToolCall) -> str:
    """Return the JSON of the answer in a call of the answer tool."""
    arguments = call.function.arguments
    if call.function.name == ANSWER_TOOL:
        return arguments
    value = parse_arguments(arguments)
    return encode_json(value["value"]) if "value" in value else arguments


def get_callable_names(tools: Iterable[JsonObject]) -> frozenset[str]:
    """Return the names that a call may have: those of the caller's tools and of the answer tools."""
    definitions = (as_object(tool.get("function")) or as_object(tool.get("custom")) for tool in tools)
    names = (as_string(definition.get("name")) for definition in definitions)
    return frozenset((ANSWER_TOOL, WRAPPED_ANSWER_TOOL, *filter(None, names)))
