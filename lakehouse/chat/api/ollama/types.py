"""The requests of Ollama's form as types. Every optional field may be null.

Source: ollama/ollama api/types.go. Unknown fields are kept: an Ollama behind this service may know them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from lakehouse.chat.model.parts import JsonObject


class OllamaFunctionParam(msgspec.Struct, frozen=True):
    """The function of a tool call. Its arguments are an object; a string of JSON is accepted too."""

    name: str
    arguments: JsonObject | str | None = None


class OllamaToolCallParam(msgspec.Struct, frozen=True):
    """A tool call of an earlier answer. Few clients send its id back."""

    function: OllamaFunctionParam
    id: str | None = None


class OllamaMessageParam(msgspec.Struct, frozen=True):
    """A message. `tool_name`, or `tool_call_id`, says which call a message of role `tool` is the result of."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[OllamaToolCallParam] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    name: str | None = None


class ModelParams(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests for a chat and for a completion share. `name` is the older word for `model`."""

    model: str | None = None
    name: str | None = None
    stream: bool | None = None
    format: JsonObject | Literal["", "json"] | None = None
    think: bool | str | None = None
    options: JsonObject | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class ChatParams(ModelParams, frozen=True, kw_only=True):
    """The body of `/api/chat`. Without messages it asks for the model to be loaded or unloaded."""

    messages: list[OllamaMessageParam] | None = None
    tools: list[JsonObject] | None = None


class GenerateParams(ModelParams, frozen=True, kw_only=True):
    """The body of `/api/generate`. Without a prompt it asks for the model to be loaded or unloaded."""

    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = None


class OptionParams(msgspec.Struct, frozen=True, kw_only=True):
    """The options that `Request` has as fields, or that every dialect has a rule for."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    num_predict: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class EmbedParams(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `/api/embed`. `options` and `keep_alive` are about an Ollama's runner, and are not used."""

    model: str | None = None
    name: str | None = None
    input: str | list[str] | None = None
    truncate: bool | None = None
    dimensions: int | None = None


class EmbeddingsParams(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `/api/embeddings`, the older form for one text."""

    model: str | None = None
    name: str | None = None
    prompt: str | None = None


class ShowParams(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `/api/show`."""

    model: str | None = None
    name: str | None = None
