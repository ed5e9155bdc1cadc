"""Bodies that are read at once: what is asked for is the same as read step by step."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.chat.api.openai import request
from lakehouse.chat.api.openai.request import parse, parse_full
from lakehouse.chat.api.openai.types import ChatCompletionRequest
from lakehouse.chat.api.protocols import Query
from lakehouse.core.errors import ErrBadRequest

HI = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "n": 1}}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CUSTOM_CALL = {"id": "2", "type": "custom", "custom": {"name": "c", "input": "x"}}
PARTS = [
    {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
    {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    {"type": "video_url", "video_url": {"url": "https://a/b.mp4"}},
]

PLAIN: list[dict[str, Any]] = [
    {},
    {"temperature": 1, "top_p": 0.5, "seed": 7, "user": "u", "stream": True, "stream_options": {"include_usage": True}},
    {"max_tokens": 5, "max_completion_tokens": 9},
    {"max_tokens": 5, "stop": ["a"], "reasoning_effort": "none"},
    {"stop": "a", "reasoning_effort": "high", "fallbacks": ["a", "b"]},
    {"stop": [], "reasoning_effort": "", "user": ""},
    {"stop": "", "tools": []},
    {"stop": ["", "a"]},
    {"tools": [TOOL], "tool_choice": "auto"},
    {"tools": [], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    dict.fromkeys(["temperature", "stop", "seed", "stream", "stream_options", "tools", "fallbacks", "user"]),
    {"messages": [{"role": "system", "content": ""}, {"role": "user", "name": "ann", "content": PARTS}]},
    {
        "messages": [
            {"role": "assistant", "content": None, "tool_calls": [CALL, CUSTOM_CALL], "reasoning": "Hm."},
            {"role": "assistant", "content": None, "refusal": "No.", "annotations": [{"type": "x"}]},
            {"role": "assistant", "audio": {"id": "a1"}, "cache_control": {"type": "ephemeral"}},
            {"role": "tool", "tool_call_id": "1", "content": "12"},
        ]
    },
]


@pytest.mark.parametrize("fields", PLAIN)
def test_what_most_clients_send_is_read_at_once(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    data = json.dumps({"model": "m", "messages": HI, **fields}).encode()
    step_by_step = parse_full(data)
    monkeypatch.delattr(request, "parse_full")
    assert parse(data) == step_by_step


ODD = st.sampled_from([None, "", "none", "x", 0, 1, -1, 1.5, True, [], {}, ["a"], [1], {"include_usage": False}])
FIELDS = [
    *ChatCompletionRequest.__struct_fields__,
    "functions",
    "format",
    "options",
    "quorum",
    "extra",
    "think",
    "other",
]
PART = st.sampled_from(
    [
        *PARTS,
        {"type": "refusal", "refusal": "No."},
        {"type": "text", "text": "a", "more": 1},
        {"type": "file", "file": {}},
        1,
    ]
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "developer", "system", "x"])},
    optional={
        "content": st.one_of(st.text(max_size=3), st.lists(PART, max_size=2), ODD),
        "tool_calls": st.sampled_from(
            [
                None,
                [],
                [CALL],
                [{"id": 1}],
                [{**CALL, "index": 0}],
                [{**CALL, "more": 1}],
                [CUSTOM_CALL],
                [{"id": "1", "type": "custom"}],
            ]
        ),
        "annotations": st.sampled_from([None, [], [{"type": "x"}], [1]]),
        **dict.fromkeys(
            ["name", "tool_call_id", "refusal", "reasoning_content", "other", "audio", "cache_control"], ODD
        ),
    },
)
BODY = st.fixed_dictionaries(
    {"model": st.sampled_from(["m", "", " ", 1]), "messages": st.one_of(st.lists(MESSAGE, max_size=2), st.just(HI))},
    optional=dict.fromkeys([name for name in FIELDS if name not in ("model", "messages")], ODD),
)


def outcome(data: bytes, *, steps: bool) -> Query | tuple[str, str | None]:
    try:
        return parse_full(data) if steps else parse(data)
    except ErrBadRequest as error:
        return error.message, error.field


@given(BODY)
def test_no_body_asks_for_something_else_for_being_read_at_once(body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    assert outcome(data, steps=False) == outcome(data, steps=True)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"seed": 1e999}', b'{"model": "\xff"}', b"[" * 100_000])
def test_what_is_no_body_is_refused_in_the_same_words(data: bytes) -> None:
    refusal = outcome(data, steps=False)
    assert not isinstance(refusal, Query)
    assert refusal == outcome(data, steps=True)
