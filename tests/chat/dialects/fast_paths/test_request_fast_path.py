"""The fast path of requests writes the same body as the full encoder, or leaves a request to it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.chat.dialects.chat_completions.encode import encode, encode_full
from lakehouse.chat.dialects.chat_completions.request_fast_path import encode_text_only
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.request import OpenAIRequest, Request
from lakehouse.core.errors import ErrBadRequest

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def make_request(messages: Any = HELLO, **fields: Any) -> Request:
    kind = OpenAIRequest if "extra" in fields else Request
    return kind(model="asked/for", messages=messages, **fields)


@pytest.mark.parametrize(
    ("fields", "quirks", "body"),
    [
        ({}, {}, b""),
        ({"extra": {}}, {"completions_thinking": "openrouter", "reasoning_key": "reasoning"}, b""),
        ({"temperature": 0, "top_p": 0.5, "seed": 0, "user": "u"}, {}, b',"temperature":0,"top_p":0.5,"seed":0,"user":"u"'),
        ({"max_tokens": 5, "stop": ["a"]}, {"default_max_tokens": 9}, b',"max_tokens":5,"stop":["a"]'),
        ({"stop": "", "tools": [], "options": {}}, {"default_max_tokens": 9}, b',"max_tokens":9'),
    ],
)  # fmt: skip
def test_requests_without_anything_to_convert_take_the_fast_path(
    fields: dict[str, Any], quirks: dict[str, Any], body: bytes
) -> None:
    expected = b'{"model":"m","messages":[{"role":"user","content":"Hello"}],"stream":false%b}' % body
    encoded = encode_text_only(make_request(**fields), model="m", stream=False, quirks=Quirks(**quirks))
    assert encoded == expected


@pytest.mark.parametrize(
    ("fields", "quirks"),
    [
        ({"tools": (TOOL,)}, {}),
        ({"tool_choice": "none"}, {}),
        ({"format": "json"}, {}),
        ({"think": False}, {}),
        ({"options": {"top_k": 1}}, {}),
        ({"extra": {"top_k": 1}}, {}),
        ({}, {"default_think": True}),
        ({}, {"send_temperature": False}),
        ({}, {"send_user": False}),
        ({}, {"max_tokens_field": "max_completion_tokens"}),
        ({}, {"extra_body": {"provider": {}}}),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]}, {}),
        ({"messages": [{"role": "assistant", "tool_calls": [CALL]}]}, {}),
    ],
)
def test_other_requests_are_left_to_the_full_encoder(fields: dict[str, Any], quirks: dict[str, Any]) -> None:
    assert encode_text_only(make_request(**fields), model="m", stream=True, quirks=Quirks(**quirks)) is None


def optional(**values: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: st.sampled_from(choices) for name, choices in values.items()})


MESSAGES = st.builds(
    lambda fields, more: {**fields, **more, **({"tool_call_id": "1"} if fields["role"] == "tool" else {})},
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
            "content": st.one_of(st.text(), st.just([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
        }
    ),
    optional(
        name=[None, "n"],
        tool_calls=[[], [CALL]],
        reasoning=[None, "", "Hm."],
        reasoning_details=[[], [{"type": "reasoning.text", "text": "Hm."}], [{"type": "reasoning.encrypted", "data": "x"}]],
        refusal=[None, "", "No."],
        audio=[None, {"id": "a"}],
        annotations=[[], [{"type": "url_citation"}]],
        cache_control=[None, {"type": "ephemeral"}],
    ),
)  # fmt: skip
FIELDS = optional(
    temperature=[None, 0, 0.7, 1.0],
    top_p=[None, 0.0, 0.5],
    max_tokens=[None, 1, 100],
    stop=[None, "", "a", (), ("a", ""), ("a", "b")],
    seed=[None, 0, 7, -1],
    format=[None, "json", {"type": "object"}],
    think=[None, True, False, "low", "none", "ultra"],
    tools=[None, (), (TOOL,)],
    tool_choice=[None, "none", "auto"],
    options=[None, {}, {"top_k": 1}],
    user=[None, "", "u"],
    extra=[{}, {"top_k": 1}, {"think": True}, {"stream_options": {"x": 1}}],
)
QUIRKS = optional(
    max_tokens_field=["max_tokens", "max_completion_tokens"],
    default_max_tokens=[None, 9],
    send_temperature=[True, False],
    send_user=[True, False],
    developer_role=[True, False],
    completions_thinking=["effort", "openrouter", "moonshot", "template", "none"],
    default_think=[None, True, False, "low"],
    reasoning_key=[None, "reasoning"],
    placeholder_reasoning=[True, False],
    reasoning_details=[True, False],
    empty_content=["null", "omit", "empty"],
    text_parts=["list", "join"],
    include_usage=[True, False],
    extra_body=[{}, {"x": 1}],
)


@given(st.lists(MESSAGES, min_size=1, max_size=3), FIELDS, QUIRKS, st.booleans())
def test_it_writes_the_same_body_as_the_full_encoder(
    messages: list[Any], fields: dict[str, Any], quirk_fields: dict[str, Any], stream: bool
) -> None:
    request, quirks = make_request(messages, **fields), Quirks(provider="p", **quirk_fields)
    body, changes = encode_text_only(request, model="m", stream=stream, quirks=quirks), RequestChanges()
    try:
        full = encode_full(request, model="m", stream=stream, quirks=quirks, changes=changes)
    except ErrBadRequest:
        assert body is None
        return
    assert body in (None, full)
    assert body is None or changes == RequestChanges()
    assert encode(request, model="m", stream=stream, quirks=quirks, changes=RequestChanges()) == full
