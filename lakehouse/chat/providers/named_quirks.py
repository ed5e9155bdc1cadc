"""What the names of `quirks` in `[providers.<name>]` mean: fields of `Quirks` with their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypedDict

from lakehouse.chat.dialects.quirks import CompletionsThinking, JsonMode
from lakehouse.config.provider_values import QuirkName


class QuirkFields(TypedDict, total=False):
    """Fields of `Quirks` that a configuration changes."""

    completions_thinking: CompletionsThinking
    custom_tools: bool
    developer_role: bool
    empty_content: Literal["null", "omit", "empty"]
    forced_tools_while_thinking: bool
    images: Literal["url", "data", "none"]
    include_usage: bool
    inline_think: Literal["never", "tagged", "unopened"]
    json_mode: JsonMode
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"]
    placeholder_reasoning: bool
    reasoning_key: str | None
    schema_in_prompt: bool
    schema_subset: Literal["full", "moonshot"]
    send_temperature: bool
    send_user: bool
    text_parts: Literal["list", "join"]
    usage_ends_stream: bool


API_KEY_HEADER: QuirkName = "api_key_header"
"""The key is sent as `api-key`."""
BEARER_KEY: QuirkName = "bearer_key"
"""The key is sent as a bearer token over the messages wire too, where it is `x-api-key` otherwise."""
STREAMS_ONLY: QuirkName = "streams_only"
"""Complete answers are requested as streams, and collected."""

NAMED_QUIRKS: Mapping[QuirkName, QuirkFields] = {
    API_KEY_HEADER: {},
    BEARER_KEY: {},
    STREAMS_ONLY: {},
    "custom_tools": {"custom_tools": True},
    "data_images": {"images": "data"},
    "developer_role": {"developer_role": True},
    "fixed_sampling": {"send_temperature": False},
    "json_object": {"json_mode": "json_object"},
    "json_prompt": {"json_mode": "prompt"},
    "json_tool": {"json_mode": "tool"},
    "max_completion_tokens": {"max_tokens_field": "max_completion_tokens"},
    "moonshot_schema": {"schema_subset": "moonshot"},
    "moonshot_thinking": {"completions_thinking": "moonshot"},
    "no_effort": {"completions_thinking": "none"},
    "no_images": {"images": "none"},
    "no_stream_usage": {"include_usage": False},
    "no_user": {"send_user": False},
    "omit_empty_content": {"empty_content": "omit"},
    "openrouter_thinking": {"completions_thinking": "openrouter"},
    "placeholder_reasoning": {"placeholder_reasoning": True},
    "reasoning": {"reasoning_key": "reasoning"},
    "reasoning_content": {"reasoning_key": "reasoning_content"},
    "schema_in_prompt": {"schema_in_prompt": True},
    "system_role": {"developer_role": False},
    "template_thinking": {"completions_thinking": "template"},
    "text_as_string": {"text_parts": "join"},
    "think_tags": {"inline_think": "tagged"},
    "unforced_tools": {"forced_tools_while_thinking": False},
    "usage_ends_stream": {"usage_ends_stream": True},
}
"""All names; the first three are about requests as a whole."""


def join_quirks(names: Iterable[QuirkName]) -> QuirkFields:
    """The fields of all these quirks; a later name wins."""
    joined: QuirkFields = {}
    for name in names:
        joined.update(NAMED_QUIRKS[name])
    return joined
