"""The body of a Responses request, its items and its tools, as clients write them.

Every optional field may be null, and unknown fields are allowed: what becomes of them is decided in `request` and
`unsent`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from lakehouse.chat.model.parts import JsonObject


class ResponsesParams(msgspec.Struct, frozen=True):
    """The body of `POST /v1/responses`. `fallbacks` is an extension: names of models to try after `model`."""

    model: str
    input: str | list[JsonObject]
    instructions: str | None = None
    tools: list[JsonObject] | None = None
    tool_choice: str | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningParams | None = None
    text: TextParams | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    top_logprobs: int | None = None
    stream: bool | None = None
    stream_options: JsonObject | None = None
    include: list[str] | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    truncation: Literal["auto", "disabled"] | None = None
    fallbacks: list[str] | None = None


class ReasoningParams(msgspec.Struct, frozen=True):
    """How much the model is to think, and whether it is to tell about it."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class TextParams(msgspec.Struct, frozen=True):
    """The form and the length of the text."""

    format: PlainText | JsonObjectFormat | JsonSchemaFormat | None = None
    verbosity: str | None = None


class PlainText(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Plain text, the default."""


class JsonObjectFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_object"):
    """Any JSON."""


class JsonSchemaFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that fits a schema."""

    schema: JsonObject
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class MessageItem(msgspec.Struct, frozen=True):
    """A message; `type` may be left out."""

    role: Literal["user", "system", "developer", "assistant"]
    content: str | list[JsonObject]
    type: str | None = None
    id: str | None = None
    status: str | None = None


class TextContent(msgspec.Struct, frozen=True):
    """A part of type `input_text`, `output_text` or `text`."""

    text: str
    annotations: list[JsonObject] | None = None
    logprobs: list[JsonObject] | None = None


class RefusalContent(msgspec.Struct, frozen=True):
    """A part in which the model refused."""

    refusal: str


class ImageContent(msgspec.Struct, frozen=True):
    """A part of type `input_image`; `file_id` names a file that the provider stores."""

    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


class FileContent(msgspec.Struct, frozen=True):
    """A part of type `input_file`."""

    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None


class AudioData(msgspec.Struct, frozen=True):
    """Audio as base64."""

    data: str
    format: str


class AudioContent(msgspec.Struct, frozen=True):
    """A part of type `input_audio`."""

    input_audio: AudioData


class FunctionCallItem(msgspec.Struct, frozen=True):
    """A call of a function in an earlier answer."""

    call_id: str
    name: str
    arguments: str
    namespace: str | None = None
    id: str | None = None
    status: str | None = None


class CustomCallItem(msgspec.Struct, frozen=True):
    """A call of a custom tool in an earlier answer."""

    call_id: str
    name: str
    input: str
    namespace: str | None = None
    id: str | None = None
    status: str | None = None


class CallOutputItem(msgspec.Struct, frozen=True):
    """The result of a call."""

    call_id: str
    output: str | list[JsonObject]
    id: str | None = None
    status: str | None = None


class ReasoningText(msgspec.Struct, frozen=True):
    """A text of a summary, or of the reasoning itself."""

    text: str


class ReasoningItem(msgspec.Struct, frozen=True):
    """Reasoning of an earlier answer."""

    summary: list[ReasoningText] | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: str | None = None


class FunctionTool(msgspec.Struct, frozen=True):
    """A function."""

    name: str
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class CustomFormat(msgspec.Struct, frozen=True):
    """The form of a custom tool's input: `text`, or a `grammar`."""

    type: Literal["text", "grammar"] = "text"
    syntax: str | None = None
    definition: str | None = None


class CustomTool(msgspec.Struct, frozen=True):
    """A tool that is called with free text."""

    name: str
    description: str | None = None
    format: CustomFormat | None = None


class NamespaceTool(msgspec.Struct, frozen=True):
    """Tools with a common name in front."""

    name: str
    tools: list[JsonObject]
    description: str | None = None
