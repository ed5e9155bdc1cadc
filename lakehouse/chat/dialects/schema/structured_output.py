"""Asking for JSON: what each provider can be told, from a grammar down to a plea in the prompt.

The steps, each for providers that do not honour the one before it (`base.SchemaLevel`):

    native        the schema goes where the provider enforces it
    json_object   the provider has a JSON mode; the schema goes into the prompt
    tool          the schema becomes the parameters of a tool that must be called; its arguments are the answer
    prompt        the prompt asks for it

Whatever the step, `structured` checks the answer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import msgspec

from lakehouse.chat.dialects.base import Quirks, SchemaLevel
from lakehouse.chat.dialects.lenient_json import JsonObject, dump, mapping, string
from lakehouse.chat.dialects.schema.subsets import moonshot
from lakehouse.chat.dialects.tools import ANSWER_TOOL, WRAPPED_ANSWER_TOOL
from lakehouse.chat.model.parts import TextPart
from lakehouse.chat.model.request import Message, OpenAIRequest, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a request is made to be answered in JSON. `schema` is None when any JSON will do."""

    level: SchemaLevel
    schema: JsonObject | None
    tool: JsonObject | None = None
    """The tool to call, in OpenAI's shape, on the step `tool`."""
    instruction: str = ""
    """What the prompt says about it."""
    label: JsonObject = field(default_factory=dict)
    """What the caller calls the schema: `name`, `description` and `strict`, those of them that were given."""

    @property
    def mode(self) -> bool:
        """Whether the provider is put into a mode of its own."""
        return self.level in ("native", "json_object")


def plan(request: Request, quirks: Quirks, *, steps: Collection[SchemaLevel]) -> Plan | None:
    """What to do about `request.format`, or None if the caller wants text.

    `steps` are those that the dialect can say; the provider's own, or the next one below it, is taken.
    """
    if request.format is None:
        return None
    order: tuple[SchemaLevel, ...] = ("native", "json_object", "tool", "prompt")
    level = next(step for step in order[order.index(quirks.schema) :] if step in steps)
    if isinstance(request.format, str):
        level = "prompt" if level == "tool" else level  # there is nothing to make the tool's parameters from
        instruction = "" if level != "prompt" and _mentions_json(request.messages) else "Answer with JSON only."
        return Plan(level=level, schema=None, instruction=instruction)
    label = request.format_label if isinstance(request, OpenAIRequest) else {}
    schema = moonshot(request.format) if quirks.schema_flavour == "moonshot" else request.format
    if level == "tool":
        tool = _answer_tool(schema, string(label.get("description")))
        name = mapping(tool["function"])["name"]
        said = f"Give your final answer by calling the tool `{name}`, and in no other way."
        return Plan(level=level, schema=schema, tool=tool, instruction=said)
    told = level != "native" or quirks.schema_in_prompt
    instruction = _description(request.format, string(label.get("description"))) if told else ""
    return Plan(level=level, schema=schema, instruction=instruction, label=label)


def _description(schema: JsonObject, description: str) -> str:
    wanted = "Answer with one JSON value that fits this JSON schema, and with nothing else: no fence, no comment."
    return "\n".join(filter(None, (wanted, description, dump(schema))))


def _mentions_json(messages: Iterable[Message]) -> bool:
    """OpenAI refuses its JSON mode when the word is nowhere in the prompt."""
    return any("json" in message.text.lower() for message in messages)


def _answer_tool(schema: JsonObject, description: str) -> JsonObject:
    name, parameters = ANSWER_TOOL, schema
    if schema.get("type") != "object":
        name, inner = WRAPPED_ANSWER_TOOL, {key: value for key, value in schema.items() if key != "$defs"}
        parameters = {"type": "object", "properties": {"value": inner}, "required": ["value"]}
        if "$defs" in schema:
            parameters["$defs"] = schema["$defs"]
    function = {"name": name, "description": description or "The final answer.", "parameters": parameters}
    return {"type": "function", "function": function}


def add_instruction(messages: tuple[Message, ...], instruction: str) -> tuple[Message, ...]:
    """The messages with one more thing said by the system: in its first message if that is text, else before them."""
    if not instruction:
        return messages
    head, *rest = messages
    if head.role in ("system", "developer"):
        if isinstance(head.content, tuple):
            content: str | tuple[TextPart, ...] = (*head.content, TextPart(text=instruction))  # type: ignore[arg-type]
        else:
            content = f"{head.text}\n\n{instruction}"
        return (msgspec.structs.replace(head, content=content), *rest)
    return (Message(role="system", content=instruction), *messages)


def response_format(plan: Plan) -> JsonObject:
    """OpenAI's `response_format` for the steps that have a mode."""
    if plan.level == "json_object" or plan.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": named_schema(plan.schema, plan.label)}


def named_schema(schema: JsonObject, label: JsonObject) -> JsonObject:
    """A schema with the name that OpenAI wants. The caller's own label is kept as it is; without one, `strict` is said
    where OpenAI's rules for it are met."""
    if label.get("name"):
        return {**label, "schema": schema}
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", string(schema.get("title")))[:64].strip("_") or "answer"
    strict = {"strict": True} if schema.get("type") == "object" and _is_strict(schema) else {}
    return {"name": name, "schema": schema, **strict, **label}


def _is_strict(schema: object) -> bool:
    """Whether every object in it is closed and requires all that it has, as OpenAI's strict mode demands."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    properties = mapping(schema.get("properties"))
    required = schema.get("required")  # anything may stand below a keyword that JSON Schema does not know
    names = set(map(str, required)) if isinstance(required, list) else set()
    closed = schema.get("additionalProperties") is False and names == set(properties)
    if (schema.get("type") == "object" or properties) and not closed:
        return False
    inner = (
        value for key, value in schema.items() if key not in ("enum", "const", "default", "examples", "properties")
    )
    return all(map(_is_strict, properties.values())) and all(map(_is_strict, inner))
