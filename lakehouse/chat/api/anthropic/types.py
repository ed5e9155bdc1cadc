"""Anthropic's messages as types: the requests of clients, and the answers.

Only the fields that have an equivalent in `Request` are here. All others stay in the request's own document, which
providers of the same form receive (`AnthropicRequest`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from lakehouse.chat.model.parts import JsonObject


class AnthropicMessage(msgspec.Struct, frozen=True):
    """A message: its text, or its blocks."""

    role: Literal["user", "assistant", "system"]
    content: str | list[JsonObject]


class MetadataParam(msgspec.Struct, frozen=True):
    """Who the end user is."""

    user_id: str | None = None


class ThinkingConfig(msgspec.Struct, frozen=True):
    """How much the model thinks: `enabled` with a budget in tokens, `adaptive`, or `disabled`."""

    type: str
    budget_tokens: int | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    """The schema of a structured answer."""

    type: Literal["json_schema"]
    schema: JsonObject


class OutputConfig(msgspec.Struct, frozen=True):
    """The effort of an answer, and its form."""

    effort: str | None = None
    format: OutputFormat | None = None


class ToolChoiceParam(msgspec.Struct, frozen=True):
    """Whether a tool is called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ToolParam(msgspec.Struct, frozen=True):
    """A tool that the client runs. A tool of the provider has a `type` of its own, and no schema."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: JsonObject | None = None
    strict: bool | None = None
    cache_control: JsonObject | None = None


class CountTokensParams(msgspec.Struct, frozen=True):
    """The body of `POST /v1/messages/count_tokens`. Every optional field may be null."""

    model: str
    messages: list[AnthropicMessage]
    system: str | list[JsonObject] | None = None
    tools: list[JsonObject] | None = None
    tool_choice: ToolChoiceParam | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None


class MessagesParams(CountTokensParams, frozen=True, kw_only=True):
    """The body of `POST /v1/messages`. `fallbacks` may be names of models to try after `model`, an extension."""

    max_tokens: int
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: MetadataParam | None = None
    fallbacks: Any = None


class TextBlock(msgspec.Struct, frozen=True):
    """A text."""

    text: str
    cache_control: JsonObject | None = None


class Source(msgspec.Struct, frozen=True):
    """Where an image or a document is: `base64`, `text`, `url`; `content` and `file` are known to Anthropic alone."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class ImageBlock(msgspec.Struct, frozen=True):
    """An image."""

    source: Source
    cache_control: JsonObject | None = None


class DocumentBlock(msgspec.Struct, frozen=True):
    """A document."""

    source: Source
    title: str | None = None
    cache_control: JsonObject | None = None


class ToolUseBlock(msgspec.Struct, frozen=True):
    """A call of a tool."""

    id: str
    name: str
    input: JsonObject
    cache_control: JsonObject | None = None


class ToolResultBlock(msgspec.Struct, frozen=True):
    """The result of a call."""

    tool_use_id: str
    content: str | list[JsonObject] | None = None
    cache_control: JsonObject | None = None


class ThinkingBlock(msgspec.Struct, frozen=True):
    """Reasoning of an earlier answer. Without a signature it comes from a provider of another form."""

    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(msgspec.Struct, frozen=True):
    """Reasoning that only its provider can read."""

    data: str


class MessageUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of an answer. `input_tokens` excludes those that were read from a cache and written to it."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]


class MessageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, or the beginning of a streamed one. `model` is the name that the client asked for."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[JsonObject]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage
