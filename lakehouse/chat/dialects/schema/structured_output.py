"""How a JSON answer is requested from a provider.

The JSON modes, each for providers that do not honour the one before it (`quirks.JsonMode`):

    native        the provider receives the schema and enforces it
    json_object   the provider has a JSON mode; the schema goes into the prompt
    tool          the schema becomes the parameters of a tool that must be called; its arguments are the answer
    prompt        the prompt describes the schema

`validate` checks the answer in every mode.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import msgspec

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_string, encode_json
from lakehouse.chat.dialects.quirks import JSON_MODES, JsonMode, Quirks
from lakehouse.chat.dialects.schema.answer_tool import build_answer_tool
from lakehouse.chat.dialects.schema.moonshot import rewrite_for_moonshot
from lakehouse.chat.model.parts import TextPart
from lakehouse.chat.model.request import Message, OpenAIRequest, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredOutputPlan:
    """How the JSON answer to one request is obtained."""

    json_mode: JsonMode
    schema: JsonObject | None
    """None if any JSON is acceptable."""
    tool: JsonObject | None = None
    """Mode `tool`: the tool to call, in OpenAI's shape."""
    instruction: str = ""
    """Text to add to the prompt."""
    label: JsonObject = field(default_factory=dict)
    """The caller's `name`, `description` and `strict` of the schema, as far as given."""

    @property
    def uses_provider_mode(self) -> bool:
        """True if the request sets a JSON mode of the provider."""
        return self.json_mode in ("native", "json_object")


def build_plan(request: Request, quirks: Quirks, *, supported: Collection[JsonMode]) -> StructuredOutputPlan | None:
    """Return the plan for `request.format`, or None for a text answer.

    `supported` are the modes of the dialect; the provider's mode is used, or the next less strict one in `supported`.
    """
    if request.format is None:
        return None
    mode = next(mode for mode in JSON_MODES[JSON_MODES.index(quirks.json_mode) :] if mode in supported)
    if isinstance(request.format, str):
        mode = "prompt" if mode == "tool" else mode  # there is no schema for the parameters of a tool
        mentioned = mode != "prompt" and _mentions_json(request.messages)
        return StructuredOutputPlan(
            json_mode=mode, schema=None, instruction="" if mentioned else "Answer with JSON only."
        )
    label = request.format_label if isinstance(request, OpenAIRequest) else {}
    schema = rewrite_for_moonshot(request.format) if quirks.schema_subset == "moonshot" else request.format
    if mode == "tool":
        tool = build_answer_tool(schema, as_string(label.get("description")))
        name = as_object(tool["function"])["name"]
        instruction = f"Give your final answer by calling the tool `{name}`, and in no other way."
        return StructuredOutputPlan(json_mode=mode, schema=schema, tool=tool, instruction=instruction)
    in_prompt = mode != "native" or quirks.schema_in_prompt
    instruction = _describe_schema(request.format, as_string(label.get("description"))) if in_prompt else ""
    return StructuredOutputPlan(json_mode=mode, schema=schema, instruction=instruction, label=label)


def _describe_schema(schema: JsonObject, description: str) -> str:
    instruction = "Answer with one JSON value that fits this JSON schema, and with nothing else: no fence, no comment."
    return "\n".join(filter(None, (instruction, description, encode_json(schema))))


def _mentions_json(messages: Iterable[Message]) -> bool:
    """Return whether the prompt contains the word, without which OpenAI rejects its JSON mode."""
    return any("json" in message.text.lower() for message in messages)


def add_instruction(messages: tuple[Message, ...], plan: StructuredOutputPlan | None) -> tuple[Message, ...]:
    """Return the messages with the plan's instruction: appended to the first message if that is a system message,
    otherwise as a new system message before all others."""
    if plan is None or not plan.instruction:
        return messages
    head, *rest = messages
    if head.role in ("system", "developer"):
        if isinstance(head.content, tuple):
            part = TextPart(text=plan.instruction)
            content: str | tuple[TextPart, ...] = (*head.content, part)  # type: ignore[arg-type]
        else:
            content = f"{head.text}\n\n{plan.instruction}"
        return (msgspec.structs.replace(head, content=content), *rest)
    return (Message(role="system", content=plan.instruction), *messages)


def build_response_format(plan: StructuredOutputPlan) -> JsonObject:
    """Return OpenAI's `response_format` for a plan that uses a mode of the provider."""
    if plan.json_mode == "json_object" or plan.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": label_schema(plan.schema, plan.label)}


def label_schema(schema: JsonObject, label: JsonObject) -> JsonObject:
    """Return a schema with the name that OpenAI requires. A label of the caller is kept; without one `strict` is set if
    the schema meets OpenAI's rules for it."""
    if label.get("name"):
        return {**label, "schema": schema}
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", as_string(schema.get("title")))[:64].strip("_") or "answer"
    strict = {"strict": True} if schema.get("type") == "object" and _is_strict(schema) else {}
    return {"name": name, "schema": schema, **strict, **label}


def _is_strict(schema: object) -> bool:
    """Return whether every object in a schema is closed and requires all its properties, as OpenAI's strict mode
    demands."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    properties = as_object(schema.get("properties"))
    required = schema.get("required")  # any value may stand under a keyword that JSON Schema does not define
    names = set(map(str, required)) if isinstance(required, list) else set()
    closed = schema.get("additionalProperties") is False and names == set(properties)
    if (schema.get("type") == "object" or properties) and not closed:
        return False
    inner = (
        value for key, value in schema.items() if key not in ("enum", "const", "default", "examples", "properties")
    )
    return all(map(_is_strict, properties.values())) and all(map(_is_strict, inner))
