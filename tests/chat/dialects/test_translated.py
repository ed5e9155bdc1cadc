"""Requests of other forms: what no other dialect can represent, names of fields, and custom tools as functions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.model.request import TranslatedRequest
from lakehouse.core.errors import ErrBadRequest

DIALECTS = {"chat completions": CHAT_COMPLETIONS, "messages": MESSAGES, "ollama": OLLAMA, "responses": RESPONSES}
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD"}}
CUSTOM = {"type": "custom", "custom": {"name": "patch", "description": "Apply a patch.", "format": GRAMMAR}}
CHOSEN = {"type": "custom", "custom": {"name": "patch"}}


def codec(dialect: Dialect, *, custom_tools: bool = False, **fields: Any) -> CallCodec:
    given: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    quirks = Quirks(provider="p", custom_tools=custom_tools)
    return CallCodec(dialect, TranslatedRequest(**given), model="m", stream=False, quirks=quirks)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_what_has_no_equivalent_is_refused_by_name_and_hints_are_recorded(dialect: Dialect) -> None:
    with pytest.raises(ErrBadRequest, match=r"^`tools\[1\]` cannot be sent: p serves m ") as caught:
        codec(dialect, unmapped=("tools[1]", "other"))
    assert caught.value.field == "tools[1]"
    assert codec(dialect, hints=("client_metadata",)).changes.left_out == ["client_metadata"]


@pytest.mark.parametrize(
    ("field_names", "expected"),
    [({}, "messages[0].content[0]"), ({"messages[0]": "input[4]"}, "input[4].content[0]"),
     ({"messages": "input", "messages[0].content[0]": "input[7]"}, "input[7]"),
     ({"messages[0].content[0]x": "wrong", "mess": "wrong"}, "messages[0].content[0]")],
)  # fmt: skip
def test_errors_name_the_field_as_the_client_wrote_it(field_names: dict[str, str], expected: str) -> None:
    video = {"type": "video_url", "video_url": {"url": "https://x/y"}}
    with pytest.raises(ErrBadRequest, match=r"cannot be sent") as caught:
        codec(MESSAGES, messages=[{"role": "user", "content": [video]}], field_names=field_names)
    assert caught.value.field == expected
    assert f"`{expected}`" in caught.value.message


def test_a_custom_tool_is_a_function_where_the_provider_has_none() -> None:
    body = json.loads(
        codec(CHAT_COMPLETIONS, tools=(CUSTOM,), tool_choice=CHOSEN, custom_as_functions=True).body,
    )
    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "patch",
                "description": "Apply a patch.\n\nThe input must match this lark grammar:\nstart: WORD",
                "parameters": {
                    "type": "object",
                    "properties": {"input": {"type": "string"}},
                    "required": ["input"],
                    "additionalProperties": False,
                },
            },
        }
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "patch"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [CHOSEN]}}
    body = json.loads(codec(MESSAGES, tools=(CUSTOM,), tool_choice=allowed, custom_as_functions=True).body)
    assert [tool["name"] for tool in body["tools"]] == ["patch"]


def test_a_custom_tool_stays_one_where_the_provider_has_them() -> None:
    body = json.loads(codec(RESPONSES, custom_tools=True, tools=(CUSTOM,), custom_as_functions=True).body)
    assert body["tools"][0] == {"type": "custom", "name": "patch", "description": "Apply a patch.", "format": {
        "type": "grammar", "syntax": "lark", "definition": "start: WORD"}}  # fmt: skip
    with pytest.raises(ErrBadRequest, match="takes functions only"):
        codec(CHAT_COMPLETIONS, tools=(CUSTOM,))
