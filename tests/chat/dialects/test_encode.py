"""The exact JSON that each dialect sends, for each field and quirk."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.generate_content import UNSUPPORTED_GENERATE_CONTENT
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.dialects.schema.answer_tool import ANSWER_TOOL
from lakehouse.chat.model.request import OpenAIRequest, Request
from lakehouse.core.errors import ErrBadRequest, LakehouseError

CHAT = CHAT_COMPLETIONS
ALL = [CHAT, OLLAMA, MESSAGES, RESPONSES]
HELLO = [{"role": "user", "content": "Hello"}]
PIXEL = "iVBORw0KGgo="
DATA_URL = f"data:image/png;base64,{PIXEL}"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": SCHEMA}}


def encode_body(
    dialect: Dialect,
    messages: list[dict[str, Any]] | None = None,
    *,
    stream: bool = False,
    quirks: Quirks | None = None,
    **fields: Any,
) -> dict[str, Any]:
    kind = OpenAIRequest if "extra" in fields else Request
    request = kind(model="asked/for", messages=messages or HELLO, **fields)  # type: ignore[arg-type]
    encoded = dialect.encode(
        request, model="m", stream=stream, quirks=quirks or Quirks(provider="p"), changes=RequestChanges()
    )
    return json.loads(encoded)  # type: ignore[no-any-return]


def without_fields(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {
        name: value for name, value in document.items() if name not in ("model", "messages", "input", "stream", *names)
    }


def test_absent_fields_are_not_sent() -> None:
    assert encode_body(CHAT) == {"model": "m", "messages": HELLO, "stream": False}
    assert encode_body(OLLAMA) == {"model": "m", "messages": HELLO, "stream": False}
    assert encode_body(RESPONSES) == {"model": "m", "input": HELLO, "stream": False, "store": False}
    assert encode_body(MESSAGES) == {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        "max_tokens": 32768,  # the dialect requires a limit
        "stream": False,
    }


def test_every_field_is_sent() -> None:
    asked: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 9, "stop": "END", "seed": 7, "user": "u"}
    assert without_fields(encode_body(CHAT, **asked)) == asked
    assert without_fields(encode_body(OLLAMA, **asked)) == {
        "options": {"temperature": 0.5, "top_p": 0.9, "num_predict": 9, "stop": ["END"], "seed": 7}
    }
    assert without_fields(encode_body(MESSAGES, **asked)) == {
        "temperature": 0.5, "top_p": 0.9, "max_tokens": 9, "stop_sequences": ["END"], "metadata": {"user_id": "u"},
    }  # fmt: skip
    assert without_fields(encode_body(RESPONSES, **{**asked, "stop": None, "max_tokens": 99})) == {
        "temperature": 0.5, "top_p": 0.9, "max_output_tokens": 99, "user": "u", "store": False,
    }  # fmt: skip


def test_an_unsupported_stop_is_rejected() -> None:
    with pytest.raises(ErrBadRequest, match="`stop`"):
        encode_body(RESPONSES, stop=["x"])


@pytest.mark.parametrize("dialect", ALL)
def test_streams_are_requested(dialect: Dialect) -> None:
    asked = encode_body(dialect, stream=True)
    assert asked["stream"] is True
    assert asked.get("stream_options") == ({"include_usage": True} if dialect is CHAT else None)
    assert "stream_options" not in encode_body(dialect, stream=True, quirks=Quirks(include_usage=False))


@pytest.mark.parametrize(
    ("quirks", "fields", "expected"),
    [
        (Quirks(max_tokens_field="max_completion_tokens"), {"max_tokens": 5}, {"max_completion_tokens": 5}),
        (Quirks(default_max_tokens=100), {}, {"max_tokens": 100}),
        (Quirks(default_max_tokens=100), {"max_tokens": 5}, {"max_tokens": 5}),
        (Quirks(send_temperature=False), {"temperature": 0.1, "top_p": 0.2}, {}),
        (Quirks(send_user=False), {"user": "u"}, {}),
        (Quirks(extra_body={"provider": {"require_parameters": True}}), {}, {"provider": {"require_parameters": True}}),
        (Quirks(extra_body={"seed": 1}), {"seed": 2}, {"seed": 2}),
        (Quirks(), {"options": {"top_k": 4, "seed": 1}, "seed": 2}, {"top_k": 4, "seed": 2}),
        (Quirks(), {"extra": {"logit_bias": {"5": 1}, "n": 1, "whatever": [None]}}, {"logit_bias": {"5": 1}, "n": 1, "whatever": [None]}),
        (Quirks(), {"think": True}, {}),
        (Quirks(), {"think": False}, {"reasoning_effort": "none"}),
        (Quirks(), {"think": "high"}, {"reasoning_effort": "high"}),
        (Quirks(default_think=False), {}, {"reasoning_effort": "none"}),
        (Quirks(default_think=False), {"think": "low"}, {"reasoning_effort": "low"}),
        (Quirks(completions_thinking="none"), {"think": "high"}, {}),
        (Quirks(completions_thinking="openrouter"), {"think": True}, {"reasoning": {"enabled": True}}),
        (Quirks(completions_thinking="openrouter"), {"think": False}, {"reasoning": {"effort": "none"}}),
        (Quirks(completions_thinking="openrouter"), {"think": "xhigh"}, {"reasoning": {"effort": "xhigh"}}),
        (Quirks(completions_thinking="moonshot"), {"think": True}, {"thinking": {"type": "enabled"}}),
        (Quirks(completions_thinking="moonshot"), {"think": "low"}, {"thinking": {"type": "enabled", "effort": "low"}}),
        (Quirks(completions_thinking="moonshot"), {"think": False}, {"thinking": {"type": "disabled"}}),
        (Quirks(completions_thinking="moonshot"), {"think": "none"}, {"thinking": {"type": "disabled"}}),
        (Quirks(completions_thinking="template"), {"think": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
        (Quirks(completions_thinking="template"), {"think": "low"}, {"chat_template_kwargs": {"enable_thinking": True}}),
    ],
)  # fmt: skip
def test_the_quirks_of_chat_completions(quirks: Quirks, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert without_fields(encode_body(CHAT, quirks=quirks, **fields)) == expected


@pytest.mark.parametrize(
    ("quirks", "fields", "expected"),
    [
        (Quirks(default_think=False), {}, {"think": False}),
        (Quirks(default_think=False), {"think": True}, {"think": True}),
        (Quirks(), {"think": "max"}, {"think": "max"}),
        (Quirks(), {"options": {"num_ctx": 8192}, "seed": 1}, {"options": {"num_ctx": 8192, "seed": 1}}),
        (Quirks(), {"stop": ["a", "b"]}, {"options": {"stop": ["a", "b"]}}),
        (Quirks(), {"extra": {"presence_penalty": 0.5, "logit_bias": {}}}, {"options": {"presence_penalty": 0.5}}),
        (Quirks(extra_body={"keep_alive": "10m"}), {}, {"keep_alive": "10m"}),
        (Quirks(), {"format": "json"}, {"format": "json"}),
        (Quirks(), {"format": SCHEMA}, {"format": SCHEMA}),
        (Quirks(json_mode="prompt"), {"format": SCHEMA}, {}),
    ],
)
def test_the_quirks_of_ollama(quirks: Quirks, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert without_fields(encode_body(OLLAMA, quirks=quirks, **fields)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"think": True, "max_tokens": 10_000}, {"type": "enabled", "budget_tokens": 5000}),
        ({"think": "low", "max_tokens": 10_000}, {"type": "enabled", "budget_tokens": 2000}),
        ({"think": "minimal", "max_tokens": 2_000}, {"type": "enabled", "budget_tokens": 1024}),
        ({"think": False}, {"type": "disabled"}),
        ({}, None),
    ],
)
def test_thinking_in_messages_has_a_budget(fields: dict[str, Any], expected: object) -> None:
    assert encode_body(MESSAGES, **fields).get("thinking") == expected


def test_a_budget_that_leaves_no_room_for_an_answer_is_rejected() -> None:
    with pytest.raises(ErrBadRequest, match="`max_tokens`"):
        encode_body(MESSAGES, think=True, max_tokens=1024)
    with pytest.raises(ErrBadRequest, match=r"`think`.*'lots'"):
        encode_body(MESSAGES, think="lots")


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        (True, {"summary": "auto"}),
        ("high", {"effort": "high", "summary": "auto"}),
        (False, {"effort": "none"}),
        (None, None),
    ],
)
def test_reasoning_in_responses(think: bool | str | None, expected: object) -> None:
    assert encode_body(RESPONSES, think=think).get("reasoning") == expected


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("name", ["model", "messages", "stream"])
def test_options_cannot_set_reserved_fields(dialect: Dialect, name: str) -> None:
    with pytest.raises(ErrBadRequest, match=rf"`options\.{name}`"):
        encode_body(dialect, options={name: 1})


# Conversations

TURNS: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
    {
        "role": "assistant",
        "reasoning": "Two calls.",
        "tool_calls": [
            {"id": "functions.get_weather:0", "function": {"name": "get_weather", "arguments": '{"city":"Ghent"}'}},
            {"id": "functions.get_weather:1", "function": {"name": "get_weather", "arguments": ""}},
        ],
    },
    {"role": "tool", "tool_call_id": "functions.get_weather:0", "content": "rain"},
    {"role": "tool", "tool_call_id": "functions.get_weather:1", "content": ""},
    {"role": "assistant", "content": "Rain."},
    {"role": "user", "content": "Thanks"},
]
FIRST, SECOND = "functions_get_weather_0", "functions_get_weather_1"


def test_a_conversation_in_chat_completions() -> None:
    def calls(message: dict[str, Any]) -> dict[str, Any]:
        return {
            "role": "assistant",
            **message,
            "tool_calls": [
                {"id": FIRST, "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Ghent"}'}},
                {"id": SECOND, "type": "function", "function": {"name": "get_weather", "arguments": "{}"}},
            ],
        }

    rest = [
        {"role": "tool", "tool_call_id": FIRST, "content": "rain"},
        {"role": "tool", "tool_call_id": SECOND, "content": ""},
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": "Thanks"},
    ]
    first = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Weather?"}]
    assert encode_body(CHAT, TURNS)["messages"] == [*first, calls({"content": None}), *rest]
    kimi = Quirks(reasoning_key="reasoning_content", empty_content="omit", developer_role=False)
    first[0] = {"role": "system", "content": "Be brief."}
    assert encode_body(CHAT, TURNS, quirks=kimi)["messages"] == [
        *first,
        calls({"reasoning_content": "Two calls."}),
        *rest,
    ]
    assert encode_body(CHAT, TURNS, quirks=Quirks(empty_content="empty"))["messages"][2] == calls({"content": ""})


def test_a_conversation_in_ollama() -> None:
    assert encode_body(OLLAMA, TURNS, quirks=Quirks(reasoning_key="thinking"))["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "",
            "thinking": "Two calls.",
            "tool_calls": [
                {"id": FIRST, "function": {"index": 0, "name": "get_weather", "arguments": {"city": "Ghent"}}},
                {"id": SECOND, "function": {"index": 1, "name": "get_weather", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "rain", "tool_name": "get_weather", "tool_call_id": FIRST},
        {"role": "tool", "content": "", "tool_name": "get_weather", "tool_call_id": SECOND},
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": "Thanks"},
    ]


def test_a_conversation_in_messages() -> None:
    sent = encode_body(MESSAGES, TURNS)
    assert sent["system"] == "Be brief."
    assert sent["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": FIRST, "name": "get_weather", "input": {"city": "Ghent"}},
                {"type": "tool_use", "id": SECOND, "name": "get_weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": FIRST, "content": "rain"},
                {"type": "tool_result", "tool_use_id": SECOND, "content": ""},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "Rain."}]},
        {"role": "user", "content": [{"type": "text", "text": "Thanks"}]},
    ]


def test_a_conversation_in_responses() -> None:
    assert encode_body(RESPONSES, TURNS)["input"] == [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "function_call", "call_id": FIRST, "name": "get_weather", "arguments": '{"city":"Ghent"}'},
        {"type": "function_call", "call_id": SECOND, "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": FIRST, "output": "rain"},
        {"type": "function_call_output", "call_id": SECOND, "output": ""},
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": "Thanks"},
    ]


def test_truncated_arguments_are_sent_as_an_object() -> None:
    calls = [{"id": "a", "function": {"name": "f", "arguments": '{"x": '}}]
    turns: list[dict[str, Any]] = [
        *HELLO,
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "not JSON"},
    ]
    kept = {"invalid_arguments": '{"x": '}
    assert encode_body(OLLAMA, turns)["messages"][1]["tool_calls"][0]["function"]["arguments"] == kept
    assert encode_body(MESSAGES, turns)["messages"][1]["content"][0]["input"] == kept
    assert encode_body(CHAT, turns)["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"x": '


# Reasoning that is sent back


def encode_details(dialect: Dialect, details: list[dict[str, Any]], quirks: Quirks, **message: Any) -> Any:
    call = {"id": "a", "function": {"name": "f"}}
    turns = [*HELLO, {"role": "assistant", "tool_calls": [call], "reasoning_details": details, **message}]
    sent = encode_body(dialect, turns, quirks=quirks)
    return sent["input"][1] if dialect is RESPONSES else sent["messages"][1]


def test_openrouter_receives_details_unchanged_but_only_signed_ones() -> None:
    encrypted = {"type": "reasoning.encrypted", "data": "x", "format": "google-gemini-v1", "index": 0}
    signed = {"type": "reasoning.text", "text": "a", "signature": "s", "format": "anthropic-claude-v1", "index": 1}
    unsigned = {"type": "reasoning.text", "text": "b", "format": "anthropic-claude-v1", "index": 2}
    plain = {"type": "reasoning.text", "text": "c", "format": "unknown", "index": 3}
    foreign = {"type": "thinking", "thinking": "d", "signature": "s"}
    quirks = Quirks(reasoning_details=True, reasoning_key="reasoning")
    message = encode_details(CHAT, [encrypted, signed, unsigned, plain, foreign], quirks, reasoning="abc")
    assert message["reasoning_details"] == [encrypted, signed, plain]
    assert message["reasoning"] == "abc"
    assert encode_details(CHAT, [], quirks)["reasoning_details"] == []
    assert "reasoning_details" not in encode_details(CHAT, [signed], Quirks())


def test_thinking_blocks_are_sent_back_unchanged_and_first() -> None:
    details: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "a", "signature": "s", "index": 0},
        {"type": "redacted_thinking", "data": "x", "index": 1},
        {"type": "reasoning.text", "text": "foreign", "format": "unknown"},
    ]
    content = encode_details(MESSAGES, details, Quirks(reasoning_details=True), reasoning="a")["content"]
    assert content[:2] == [
        {"type": "thinking", "thinking": "a", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    assert [block["type"] for block in content[2:]] == ["tool_use"]
    assert encode_details(MESSAGES, details, Quirks(), reasoning="a")["content"][0]["type"] == "tool_use"
    unsigned = encode_details(MESSAGES, [], Quirks(unsigned_thinking=True), reasoning="a")["content"]
    assert unsigned[0] == {"type": "thinking", "thinking": "a", "signature": ""}


def test_encrypted_reasoning_is_sent_back_to_responses() -> None:
    item = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "E"}
    quirks = Quirks(reasoning_details=True)
    assert encode_details(RESPONSES, [item], quirks) == item
    assert encode_details(RESPONSES, [{**item, "encrypted_content": None}], quirks)["type"] == "function_call"
    assert encode_body(RESPONSES, quirks=quirks)["include"] == ["reasoning.encrypted_content"]


# Tools

CHOICES: list[tuple[object, object, object, object]] = [
    # tool_choice: requested, in chat completions, in messages, in responses
    ("auto", "auto", {"type": "auto"}, "auto"),
    ("none", "none", {"type": "none"}, "none"),
    ("required", "required", {"type": "any"}, "required"),
    (
        {"type": "function", "function": {"name": "get_weather"}},
        {"type": "function", "function": {"name": "get_weather"}},
        {"type": "tool", "name": "get_weather"},
        {"type": "function", "name": "get_weather"},
    ),
    (None, None, None, None),
]


@pytest.mark.parametrize(("choice", "chat", "messages", "responses"), CHOICES)
def test_tools_and_their_choice(choice: Any, chat: object, messages: object, responses: object) -> None:
    def sent(dialect: Dialect) -> dict[str, Any]:
        return encode_body(dialect, tools=[TOOL], tool_choice=choice)

    assert sent(CHAT)["tools"] == [TOOL]
    assert sent(CHAT).get("tool_choice") == chat
    assert sent(MESSAGES)["tools"] == [{"name": "get_weather", "description": "Weather.", "input_schema": SCHEMA}]
    assert sent(MESSAGES).get("tool_choice") == messages
    flat = {"type": "function", "name": "get_weather", "description": "Weather.", "parameters": SCHEMA, "strict": False}
    assert sent(RESPONSES)["tools"] == [flat]
    assert sent(RESPONSES).get("tool_choice") == responses
    assert sent(OLLAMA).get("tools") == (None if choice == "none" else [TOOL])
    assert "tool_choice" not in sent(OLLAMA)


def test_ollama_receives_only_the_chosen_tool() -> None:
    other = {"type": "function", "function": {"name": "other", "parameters": {}}}
    choice = {"type": "function", "function": {"name": "other"}}
    assert encode_body(OLLAMA, tools=[TOOL, other], tool_choice=choice)["tools"] == [other]


def test_references_are_inlined_for_ollama() -> None:
    parameters = {
        "type": "object",
        "properties": {"where": {"$ref": "#/$defs/Place", "description": "Where"}, "tree": {"$ref": "#/$defs/Tree"}},
        "$defs": {
            "Place": {"type": "string"},
            "Tree": {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}}},
        },
    }
    sent = encode_body(OLLAMA, tools=[{"function": {"name": "f", "parameters": parameters}}])
    assert sent["tools"][0]["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "where": {"type": "string", "description": "Where"},
            "tree": {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}}},
        },
    }


def test_references_that_would_expand_without_bound_stay() -> None:
    doubling = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    parameters = {"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": doubling}
    sent = encode_body(OLLAMA, tools=[{"function": {"name": "f", "parameters": parameters}}])
    assert sent["tools"][0]["function"]["parameters"] == parameters


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"tools": [TOOL, {"type": "function"}]}, r"`tools\[1\]`"),
        ({"tools": [{"type": "retrieval", "function": {"name": "f"}}]}, r"`tools\[0\]\.type`"),
        ({"tools": [{"type": "function", "function": {"name": ANSWER_TOOL}}]}, r"`tools\[0\]\.function\.name`"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "`tool_choice`"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "`tool_choice`"),
    ],
)
def test_an_invalid_tool_is_rejected_by_name(dialect: Dialect, fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ErrBadRequest, match=where):
        encode_body(dialect, **fields)


def test_an_invalid_tool_schema_is_rejected_where_it_is_rewritten() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "nonsense"}}}
    with pytest.raises(ErrBadRequest, match=r"`tools\[0\]\.function\.parameters`"):
        encode_body(CHAT, tools=[tool], quirks=Quirks(schema_subset="moonshot"))


# Images


def picture(url: str, **detail: str) -> list[dict[str, Any]]:
    return [
        {
            "role": "user",
            "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url, **detail}}],
        }
    ]


def test_an_image_in_each_dialect() -> None:
    assert encode_body(CHAT, picture(DATA_URL, detail="low"))["messages"] == picture(DATA_URL, detail="low")
    assert encode_body(OLLAMA, picture(DATA_URL))["messages"] == [
        {"role": "user", "content": "What?", "images": [PIXEL]}
    ]
    assert encode_body(MESSAGES, picture(DATA_URL))["messages"][0]["content"][1] == {
        "type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
    }  # fmt: skip
    assert encode_body(RESPONSES, picture(DATA_URL))["input"][0]["content"] == [
        {"type": "input_text", "text": "What?"},
        {"type": "input_image", "image_url": DATA_URL, "detail": "auto"},
    ]


def test_a_remote_image_is_passed_on() -> None:
    url = "https://example.org/cat.png"
    assert encode_body(CHAT, picture(url))["messages"] == picture(url)
    assert encode_body(RESPONSES, picture(url, detail="high"))["input"][0]["content"][1] == {
        "type": "input_image",
        "image_url": url,
        "detail": "high",
    }
    assert encode_body(MESSAGES, picture(url))["messages"][0]["content"][1] == {
        "type": "image",
        "source": {"type": "url", "url": url},
    }


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize(
    ("url", "quirks"),
    [
        ("https://example.org/cat.png", Quirks(images="data")),
        (DATA_URL, Quirks(images="none")),
        ("file:///etc/passwd", Quirks()),
        ("data:text/plain;base64,aGk=", Quirks()),
        ("data:image/png,hi", Quirks()),
        ("data:image/png;base64,", Quirks()),
        ("data:image/png;base64,%%%", Quirks()),
        ("data:image/png;base64,aGk", Quirks()),
    ],
)
def test_an_unsupported_image_is_rejected_by_name(dialect: Dialect, url: str, quirks: Quirks) -> None:
    with pytest.raises(ErrBadRequest, match=r"`messages\[1\]\.content\[1\]\.image_url\.url`"):
        encode_body(dialect, [*HELLO, *picture(url)], quirks=quirks)


def test_ollama_rejects_remote_images_whatever_the_quirks() -> None:
    with pytest.raises(ErrBadRequest, match=r"`messages\[0\]\.content\[1\]\.image_url\.url`"):
        encode_body(OLLAMA, picture("https://example.org/cat.png"))


def test_errors_name_the_position_of_an_image_in_the_request() -> None:
    for dialect in ALL:
        with pytest.raises(ErrBadRequest, match=r"`messages\[0\]"):
            encode_body(dialect, picture("ftp://x"), format=SCHEMA, quirks=Quirks(json_mode="prompt"))


# An unsupported dialect


def test_generate_content_is_unsupported() -> None:
    with pytest.raises(LakehouseError, match=r"m of opencode .*generateContent") as caught:
        encode_body(UNSUPPORTED_GENERATE_CONTENT, quirks=Quirks(provider="opencode"))
    assert caught.value.error_class == "wrong_endpoint"
