"""OpenAI's chat completions as types: the requests of clients, and the responses.

Requests are accepted as OpenAI's clients write them: every optional field may be null, and unknown fields are allowed.
Responses carry additional fields (`provider`, `attempts`, `cost`), which OpenAI's clients ignore.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from lakehouse.chat.api.openai.messages import MessageParam
from lakehouse.chat.model.answer import FinishReason
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.request import Message
from lakehouse.chat.model.tool_calls import AnyToolCall, Custom, Function
from lakehouse.core.errors import Attempt


class JsonSchema(msgspec.Struct, frozen=True):
    """The schema of a structured answer."""

    schema: JsonObject
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class FormatText(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Plain text, the default."""


class FormatJson(msgspec.Struct, frozen=True, tag_field="type", tag="json_object"):
    """Any JSON."""


class FormatSchema(msgspec.Struct, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that fits a schema."""

    json_schema: JsonSchema


class StreamOptions(msgspec.Struct, frozen=True):
    """Options of a stream."""

    include_usage: bool | None = None


class FastStreamOptions(StreamOptions, frozen=True, forbid_unknown_fields=True):
    """`StreamOptions` without a field that has to be forwarded."""


class ChatCompletionRequest(msgspec.Struct, frozen=True):
    """The body of `POST /v1/chat/completions`. `fallbacks` is an extension: names of models to try after `model`."""

    model: str
    messages: list[MessageParam]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    response_format: FormatText | FormatJson | FormatSchema | None = None
    reasoning_effort: str | None = None
    tools: list[JsonObject] | None = None
    tool_choice: str | JsonObject | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    fallbacks: list[str] | None = None
    user: str | None = None
    # Checked here, and forwarded in `extra`:
    parallel_tool_calls: bool | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class FastChatCompletionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of most clients: `ChatCompletionRequest` without the fields and messages that need conversion."""

    model: str
    messages: tuple[Message, ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | tuple[str, ...] | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    tools: tuple[JsonObject, ...] | None = None
    tool_choice: str | JsonObject | None = None
    stream: bool | None = None
    stream_options: FastStreamOptions | None = None
    fallbacks: tuple[str, ...] | None = None
    user: str | None = None


class CompletionUsage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The provider's counts; `cost` is in US dollars."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: JsonObject | UnsetType = UNSET
    completion_tokens_details: JsonObject | UnsetType = UNSET
    cost: float | UnsetType = UNSET


class AnswerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The message of a complete answer; a client may send it back unchanged."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    reasoning_content: str | UnsetType = UNSET
    reasoning_details: tuple[JsonObject, ...] | UnsetType = UNSET
    tool_calls: tuple[AnyToolCall, ...] | UnsetType = UNSET
    annotations: tuple[JsonObject, ...] | UnsetType = UNSET
    images: tuple[JsonObject, ...] | UnsetType = UNSET
    audio: JsonObject | UnsetType = UNSET


class AnswerChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The only choice of a complete answer."""

    index: int = 0
    message: AnswerMessage
    logprobs: JsonObject | None = None
    finish_reason: FinishReason


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer. `model` is the name that was sent upstream, `created` is in Unix seconds."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    provider: str
    choices: tuple[AnswerChoice, ...]
    usage: CompletionUsage | UnsetType = UNSET
    attempts: tuple[Attempt, ...]
    service_tier: str | UnsetType = UNSET
    system_fingerprint: str | UnsetType = UNSET
    moderation: JsonObject | list[Any] | UnsetType = UNSET
    citations: list[Any] | UnsetType = UNSET
    search_results: list[Any] | UnsetType = UNSET


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A complete tool call in one delta of a stream."""

    index: int
    id: str
    type: Literal["function", "custom"] = "function"
    function: Function | UnsetType = UNSET
    custom: Custom | UnsetType = UNSET


class ChunkDelta(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the message in one chunk. The first delta of a stream has the role."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning_details: tuple[JsonObject, ...] | UnsetType = UNSET
    tool_calls: tuple[ToolCallDelta, ...] | UnsetType = UNSET
    annotations: tuple[JsonObject, ...] | UnsetType = UNSET
    images: tuple[JsonObject, ...] | UnsetType = UNSET
    audio: JsonObject | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The only choice of a chunk."""

    index: int = 0
    delta: ChunkDelta
    logprobs: JsonObject | UnsetType = UNSET
    finish_reason: FinishReason | None = None


class CompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream. If usage was requested, it is null in all chunks but the last, which has no choices."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    provider: str
    choices: tuple[ChunkChoice, ...]
    usage: CompletionUsage | UnsetType | None = UNSET
    attempts: tuple[Attempt, ...] | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
    system_fingerprint: str | UnsetType = UNSET
    moderation: JsonObject | list[Any] | UnsetType = UNSET
    citations: list[Any] | UnsetType = UNSET
    search_results: list[Any] | UnsetType = UNSET


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the listing; `created` is in Unix seconds, 0 if unknown."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """The list of models."""

    object: Literal["list"] = "list"
    data: tuple[Model, ...]
