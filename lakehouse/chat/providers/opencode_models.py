"""OpenCode's models: the endpoint that serves each, and the quirks of their families.

The first pattern that matches decides; without a match, chat completions is used. Families move between endpoints and
differ between Zen and Go, so the configuration can override the tables (`[chatd.opencode] endpoints`).

Source: anomalyco/opencode, zen.mdx and go.mdx of August 2026.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Literal

from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.providers.claude import is_claude, quirks_of_claude
from lakehouse.config.provider_tables import EndpointName

Served = EndpointName | Literal["generate_content"]
"""The endpoints that the configuration can name, and that of Gemini's own API, which is not supported."""

Table = tuple[tuple[str, Served], ...]

ZEN: Table = (
    ("gpt-5*", "responses"),
    ("claude-*", "messages"),
    ("gemini-*", "generate_content"),
    ("qwen3.[567]-*", "messages"),
)

GO: Table = (
    ("grok-4.5", "responses"),
    ("gpt-5.6-luna", "responses"),
    ("muse-spark-*", "responses"),
    ("minimax-*", "messages"),
    ("qwen3.[678]-*", "messages"),
)

_BASE = Quirks(
    provider="opencode",
    max_tokens_field="max_tokens",  # not all models behind the gateway accept `max_completion_tokens`
    # The gateway passes fields on to the model. Text that is one string has no place for `part_extra`.
    capabilities=CHAT_COMPLETIONS.capabilities - {"refusal", "part_extra"} | {"video_url"},
    text_parts="join",  # DeepSeek answers 422 to a list of text parts; all accept a string
    reasoning_key="reasoning_content",  # Kimi and DeepSeek require it back with tool calls (opencode#25758)
    developer_role=False,  # DeepSeek answers 422 to a role that it does not know; `system` is known to all
    usage_ends_stream=True,  # minimax and muse: no end mark, not even a finish reason (opencode#43379, #43882)
)

FAMILIES: tuple[tuple[str, Quirks], ...] = (
    # `json_schema` is rejected, `json_object` works; thinking is switched as in their own APIs.
    (
        "deepseek-*",
        replace(
            _BASE,
            json_mode="json_object",
            completions_thinking="moonshot",
            forced_tools_while_thinking=False,
            placeholder_reasoning=True,
        ),
    ),
    ("glm-*", replace(_BASE, json_mode="json_object", completions_thinking="moonshot")),
    (
        "kimi-*",
        replace(
            _BASE,
            schema_subset="moonshot",
            completions_thinking="moonshot",
            forced_tools_while_thinking=False,
            empty_content="omit",
            placeholder_reasoning=True,
            send_temperature=False,
        ),
    ),
    ("minimax-*", replace(_BASE, inline_think="tagged")),
    ("*", _BASE),
)


def quirks_of(model: str, endpoint: Served) -> Quirks:
    """The quirks of `model` on `endpoint`."""
    family = next(quirks for pattern, quirks in FAMILIES if fnmatchcase(model, pattern))
    match endpoint:
        case "messages":
            quirks = replace(family, json_mode="tool", reasoning_details=True, capabilities=MESSAGES.capabilities)
            if is_claude(model):
                return quirks_of_claude(model, quirks)
            return replace(quirks, sampling_while_thinking=True, capabilities=MESSAGES.capabilities - {"file"})
        case "responses":  # stateless: reasoning is returned encrypted and sent back with the next turn
            return replace(family, reasoning_details=True, capabilities=None, custom_tools=True, developer_role=True)
        case _:
            return family
