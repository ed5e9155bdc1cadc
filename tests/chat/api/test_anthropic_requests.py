"""Requests in Anthropic's form: what they become for each dialect, and what is refused or left out by name."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from lakehouse.chat.api.anthropic.request import parse
from lakehouse.chat.api.anthropic.tokens import estimate_tokens
from lakehouse.chat.api.reasoning_envelope import encode_details
from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.core.errors import ErrBadRequest

OTHERS = [CHAT_COMPLETIONS, RESPONSES, OLLAMA]
ALL = [*OTHERS, MESSAGES]
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello?"}]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}}
PDF = {"type": "document", "title": "a.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}  # fmt: skip
CACHED = {"cache_control": {"type": "ephemeral"}}
TOOL = {"name": "look", "description": "Look.", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}  # fmt: skip


def encode(dialect: Dialect, body: dict[str, Any], **quirks: Any) -> tuple[dict[str, Any], CallCodec]:
    """The body that a provider of the dialect is sent for a request, and the codec with what was left out."""
    request = parse(json.dumps({"model": "m", "max_tokens": 4000, "messages": HELLO, **body}).encode())
    codec = CallCodec(dialect, request, model="theirs", stream=False, quirks=Quirks(provider="p", **quirks))
    return json.loads(codec.body), codec


def refuse(dialect: Dialect, body: dict[str, Any], **quirks: Any) -> ErrBadRequest:
    with pytest.raises(ErrBadRequest) as refused:
        encode(dialect, body, **quirks)
    return refused.value


def test_a_provider_of_the_same_form_gets_the_document_with_another_model() -> None:
    document = {
        "system": [{"type": "text", "text": "Be brief.", **CACHED}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Look.", **CACHED}, IMAGE, PDF]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "Sig"},
                {"type": "redacted_thinking", "data": "Red"},
                {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}},
                {"type": "tool_use", "id": "tu_1", "name": "look", "input": {"at": "ü"}, "caller": {"type": "direct"}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "tu_1", "content": [IMAGE], "is_error": True}]},
        ],
        "tools": [TOOL, {"type": "web_search_20260318", "name": "web_search"}, {"type": "bash_20250124", "name": "bash"}],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        "stop_sequences": ["x"],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "metadata": {"user_id": "u" * 200},
        "context_management": {"edits": []},
        "container": {"id": "c"},
        "service_tier": "standard_only",
        "a_field_of_tomorrow": [1],
    }  # fmt: skip
    sent, codec = encode(MESSAGES, document)
    assert sent == {**document, "model": "theirs", "max_tokens": 4000, "stream": False}
    assert (codec.changes.left_out, codec.changes.adjusted) == ([], [])


CONVERSATION = [
    {"role": "user", "content": [{"type": "text", "text": "Look at"}, IMAGE]},
    {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "Two places.", "signature": ""},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "tu_1", "name": "look", "input": {"at": "a"}},
        {"type": "tool_use", "id": "tu_2", "name": "look", "input": {"at": "b"}},
    ]},
    {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "tu_1", "content": "nothing"},
        {"type": "tool_result", "tool_use_id": "tu_2", "content": [{"type": "text", "text": "this"}], "is_error": True},
        {"type": "text", "text": "And?"},
    ]},
]  # fmt: skip
CALLS = [{"id": f"tu_{n}", "type": "function", "function": {"name": "look", "arguments": f'{{"at":"{at}"}}'}} for n, at in ((1, "a"), (2, "b"))]  # fmt: skip
DATA_URL = "data:image/png;base64,iVBORw=="

SENT: dict[str, Any] = {
    "chat_completions": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look at"}, {"type": "image_url", "image_url": {"url": DATA_URL}}]},
        {"role": "assistant", "content": "I look.", "tool_calls": CALLS, "reasoning_content": "Two places."},
        {"role": "tool", "tool_call_id": "tu_1", "content": "nothing"},
        {"role": "tool", "tool_call_id": "tu_2", "content": "this"},
        {"role": "user", "content": "And?"},
    ],
    "responses": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Look at"}, {"type": "input_image", "image_url": DATA_URL, "detail": "auto"}]},
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "tu_1", "name": "look", "arguments": '{"at":"a"}'},
        {"type": "function_call", "call_id": "tu_2", "name": "look", "arguments": '{"at":"b"}'},
        {"type": "function_call_output", "call_id": "tu_1", "output": "nothing"},
        {"type": "function_call_output", "call_id": "tu_2", "output": "this"},
        {"role": "user", "content": "And?"},
    ],
    "ollama": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look at", "images": ["iVBORw=="]},
        {"role": "assistant", "content": "I look.", "thinking": "Two places.", "tool_calls": [
            {"id": "tu_1", "function": {"index": 0, "name": "look", "arguments": {"at": "a"}}},
            {"id": "tu_2", "function": {"index": 1, "name": "look", "arguments": {"at": "b"}}},
        ]},
        {"role": "tool", "content": "nothing", "tool_call_id": "tu_1", "tool_name": "look"},
        {"role": "tool", "content": "this", "tool_call_id": "tu_2", "tool_name": "look"},
        {"role": "user", "content": "And?"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("dialect", OTHERS, ids=lambda dialect: dialect.form)
def test_a_conversation_with_tools_and_images_in_other_forms(dialect: Dialect) -> None:
    body = {"system": "Be brief.", "messages": CONVERSATION, "tools": [TOOL], "tool_choice": {"type": "auto"}}
    sent, codec = encode(dialect, body, reasoning_key="reasoning_content")
    assert sent["input" if dialect is RESPONSES else "messages"] == SENT[dialect.form]
    function = sent["tools"][0] if dialect is RESPONSES else sent["tools"][0]["function"]
    assert {name: function[name] for name in ("name", "description")} == {"name": "look", "description": "Look."}
    assert function["parameters"]["properties"] == {"at": {"type": "string"}}
    assert "messages[2].content[1].is_error" in codec.changes.left_out


def test_images_in_a_result_come_after_all_results_where_results_are_text() -> None:
    results = [
        {"type": "tool_result", "tool_use_id": "tu_1", "content": [{"type": "text", "text": "shown"}, IMAGE]},
        {"type": "tool_result", "tool_use_id": "tu_2"},
    ]
    messages = [*CONVERSATION[:2], {"role": "user", "content": results}, {"role": "assistant", "content": "Ah."}]
    sent, _ = encode(CHAT_COMPLETIONS, {"messages": messages})
    assert sent["messages"][2:] == [
        {"role": "tool", "tool_call_id": "tu_1", "content": "shown"},
        {"role": "tool", "tool_call_id": "tu_2", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "The tool returned this:"},
                {"type": "image_url", "image_url": {"url": DATA_URL}},
            ],
        },
        {"role": "assistant", "content": "Ah."},
    ]
    bad = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}
    messages[3] = {"role": "user", "content": [{"type": "text", "text": "See"}, bad]}
    assert refuse(CHAT_COMPLETIONS, {"messages": messages}).field == "messages[3].content[1].source"


THINKING = [
    # thinking, output_config, sent in chat completions, responses, ollama
    (None, None, None, None, None),
    ({"type": "disabled"}, None, "none", {"effort": "none"}, False),
    ({"type": "adaptive"}, None, None, None, None),
    ({"type": "adaptive"}, {"effort": "low"}, "low", {"effort": "low", "summary": "auto"}, "low"),
    ({"type": "enabled", "budget_tokens": 1024}, None, "low", {"effort": "low", "summary": "auto"}, "low"),
    ({"type": "enabled", "budget_tokens": 2500}, None, "medium", {"effort": "medium", "summary": "auto"}, "medium"),
    ({"type": "enabled", "budget_tokens": 3999}, None, "high", {"effort": "high", "summary": "auto"}, "high"),
    ({"type": "enabled", "budget_tokens": 10**400}, None, "high", {"effort": "high", "summary": "auto"}, "high"),
    (None, {"effort": "high"}, "high", {"effort": "high", "summary": "auto"}, "high"),
]


@pytest.mark.parametrize(("thinking", "config", "effort", "reasoning", "think"), THINKING)
def test_thinking_in_other_forms(thinking: Any, config: Any, effort: Any, reasoning: Any, think: Any) -> None:
    body = {"thinking": thinking, "output_config": config}
    assert encode(CHAT_COMPLETIONS, body)[0].get("reasoning_effort") == effort
    assert encode(RESPONSES, body)[0].get("reasoning") == reasoning
    assert encode(OLLAMA, body)[0].get("think") == think


OWN_THINKING = [
    # the model's way, thinking, output_config, sent
    ("budget", {"type": "adaptive"}, {"effort": "high"}, {"type": "enabled", "budget_tokens": 3200}, None),
    ("budget", None, {"effort": "high"}, None, {"effort": "high"}),
    ("budget", {"type": "enabled", "budget_tokens": 1500}, None, {"type": "enabled", "budget_tokens": 1500}, None),
    ("adaptive", {"type": "enabled", "budget_tokens": 3900}, None, {"type": "adaptive"}, {"effort": "high"}),
    ("adaptive", {"type": "adaptive", "display": "omitted"}, None, {"type": "adaptive", "display": "omitted"}, None),
    ("always", {"type": "disabled"}, None, {"type": "adaptive"}, {"effort": "low"}),
    ("always", None, {"effort": "max"}, None, {"effort": "max"}),
    ("budget", {"type": "of_tomorrow"}, None, {"type": "of_tomorrow"}, None),
]


@pytest.mark.parametrize(("style", "thinking", "config", "sent_thinking", "sent_config"), OWN_THINKING)
def test_thinking_in_the_way_of_the_model(
    style: str, thinking: Any, config: Any, sent_thinking: Any, sent_config: Any
) -> None:
    body = {name: value for name, value in (("thinking", thinking), ("output_config", config)) if value}
    sent, codec = encode(MESSAGES, body, messages_thinking=style)
    assert (sent.get("thinking"), sent.get("output_config")) == (sent_thinking, sent_config)
    assert codec.changes.adjusted == ([] if sent_thinking == thinking else ["thinking"])


def test_reasoning_goes_back_to_the_provider_that_it_is_from() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "Enc"}
    detail = {"type": "reasoning.text", "text": "Hm.", "signature": "S", "format": "anthropic-claude-v1"}
    for dialect, entry in ((RESPONSES, item), (CHAT_COMPLETIONS, detail)):
        block = {"type": "thinking", "thinking": "Hm.", "signature": encode_details([entry])}
        messages = [*HELLO, {"role": "assistant", "content": [block, {"type": "text", "text": "Hi."}]}, *HELLO]
        sent, _ = encode(dialect, {"messages": messages}, reasoning_details=True)
        assert entry in (sent["input"] if dialect is RESPONSES else sent["messages"][1]["reasoning_details"])
        own, codec = encode(MESSAGES, {"messages": messages})
        assert own["messages"][1]["content"] == [{"type": "text", "text": "Hi."}]
        assert codec.changes.left_out == ["messages.content.thinking"]
        kept, _ = encode(MESSAGES, {"messages": messages}, unsigned_thinking=True)
        assert kept["messages"][1]["content"][0] == {**block, "signature": ""}
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "Sig"}
    messages = [*HELLO, {"role": "assistant", "content": [signed]}]
    sent, codec = encode(RESPONSES, {"messages": messages}, reasoning_details=True)
    assert [entry.get("role") for entry in sent["input"]] == ["user"]
    assert "messages.reasoning_details" in codec.changes.left_out


UNMAPPED = [
    ({"container": "c"}, "container"),
    ({"mcp_servers": [{}]}, "mcp_servers"),
    ({"inference_geo": "eu"}, "inference_geo"),
    ({"unheard_of": 1}, "unheard_of"),
    ({"fallbacks": [{"model": "x"}]}, "fallbacks"),
    ({"thinking": {"type": "of_tomorrow"}}, "thinking.type"),
    ({"output_config": {"task_budget": {}}}, "output_config.task_budget"),
    ({"tools": [TOOL, {"type": "bash_20250124", "name": "bash"}]}, "tools[1].type"),
    ({"tools": [{"type": "code_execution_20260521", "name": "code"}]}, "tools[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "tone": 1}]}]}, "messages[0].content[0].tone"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{**PDF, "citations": {"enabled": True}}]}]}, "messages[0].content[0].citations"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "path"), UNMAPPED)
def test_what_only_the_same_form_has_is_refused_by_name(body: dict[str, Any], path: str) -> None:
    for dialect in OTHERS:
        error = refuse(dialect, body)
        assert error.field == path
        assert error.message.startswith(f"`{path}` cannot be sent")
    sent, _ = encode(MESSAGES, body)
    assert {name: sent[name] for name in body} == body


HINTS = [
    ({"context_management": {"edits": []}}, "context_management"),
    ({"service_tier": "auto"}, "service_tier"),
    (CACHED, "cache_control"),
    ({"metadata": {"user_id": "u" * 65}}, "metadata"),
    ({"tools": [{"type": "web_search_20260318", "name": "web_search"}]}, "tools.web_search"),
    ({"tools": [{**TOOL, "defer_loading": True}]}, "tools.defer_loading"),
    ({"thinking": {"type": "adaptive", "display": "omitted"}}, "thinking.display"),
]


@pytest.mark.parametrize(("body", "path"), HINTS)
def test_hints_are_left_out_and_named(body: dict[str, Any], path: str) -> None:
    sent, codec = encode(CHAT_COMPLETIONS, body)
    assert path in codec.changes.left_out
    assert set(sent) <= {"model", "messages", "stream", "max_tokens", "tools"}


MALFORMED = [
    ({"max_tokens": None}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]}, "messages[0].content[0].source"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].tool_use_id"),
    ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f"}]}]}, "messages[0].content[0].input"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "thinking.budget_tokens"),
    ({"thread": {"type": "create"}}, "thread"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "path"), MALFORMED)
def test_a_field_that_does_not_fit_is_named(body: dict[str, Any], path: str) -> None:
    for dialect in (CHAT_COMPLETIONS, MESSAGES):
        error = refuse(dialect, body)
        assert error.field == path
        assert f"`{path}`" in error.message


def test_the_choice_of_tools_and_the_rest_of_the_parameters() -> None:
    body = {
        "tools": [TOOL],
        "stop_sequences": ["x", "y"],
        "temperature": 0.2,
        "top_p": 0.9,
        "top_k": 5,
        "metadata": {"user_id": "me"},
    }
    for choice, sent_choice in (
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto"),
    ):
        sent, _ = encode(CHAT_COMPLETIONS, {**body, "tool_choice": choice})
        assert sent["tool_choice"] == sent_choice
        assert sent.get("parallel_tool_calls") == (False if "disable_parallel_tool_use" in choice else None)
    assert {name: sent[name] for name in ("stop", "temperature", "top_p", "top_k", "user", "max_tokens")} == {
        "stop": ["x", "y"], "temperature": 0.2, "top_p": 0.9, "top_k": 5, "user": "me", "max_tokens": 4000,
    }  # fmt: skip
    assert refuse(RESPONSES, {"stop_sequences": ["x"]}).field == "stop_sequences"


def test_a_schema_is_asked_for_in_the_way_of_each_provider() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    body = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    assert encode(CHAT_COMPLETIONS, body)[0]["response_format"]["json_schema"]["schema"] == schema
    assert encode(RESPONSES, body)[0]["text"]["format"]["schema"] == schema
    assert encode(OLLAMA, body)[0]["format"] == schema
    sent, _ = encode(MESSAGES, {**body, "system": [{"type": "text", "text": "Be brief.", **CACHED}]}, json_mode="tool")
    assert sent["tools"][0]["input_schema"] == schema
    assert sent["system"][0] == {"type": "text", "text": "Be brief.", **CACHED}
    assert refuse(MESSAGES, {**body, "container": "c"}).field == "container"


def test_a_web_search_is_that_of_a_provider_that_has_one() -> None:
    tool = {"type": "web_search_20260318", "name": "web_search", "max_uses": 3, "user_location": {"type": "approximate", "city": "Ghent"}}  # fmt: skip
    sent, codec = encode(RESPONSES, {"tools": [tool]})
    assert sent["tools"] == [{"type": "web_search", "user_location": {"type": "approximate", "city": "Ghent"}}]
    assert codec.changes.left_out == ["tools.web_search.max_uses"]
    error = refuse(CHAT_COMPLETIONS, {"tools": [tool, TOOL], "tool_choice": {"type": "tool", "name": "web_search"}})
    assert error.field == "tool_choice"


def test_names_of_models_to_try_are_not_sent() -> None:
    for names in (["ollama/m"], []):
        for dialect in ALL:
            assert "fallbacks" not in encode(dialect, {"fallbacks": names})[0]
    assert parse(b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}],"fallbacks":["a","b"]}').fallbacks == ("a", "b")  # fmt: skip


def test_tokens_are_estimated_from_what_the_model_reads() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 100
    plain = estimate_tokens({"messages": [{"role": "user", "content": text}]})
    assert 900 <= plain <= 1400
    with_image = estimate_tokens({"messages": [{"role": "user", "content": [{"type": "text", "text": text}, IMAGE]}]})
    assert 1_500 <= with_image - plain <= 1_700
    assert estimate_tokens({"messages": HELLO, "tools": [TOOL]}) > estimate_tokens({"messages": HELLO}) > 0
    assert estimate_tokens({"messages": [], "metadata": {"user_id": text}}) == 1


def test_a_long_result_has_the_name_of_its_message_alone() -> None:
    result = {"type": "tool_result", "tool_use_id": "tu_1", "content": "x" * 100_000}
    messages = [*CONVERSATION[:2], {"role": "user", "content": [result]}]
    request = parse(json.dumps({"model": "m", "max_tokens": 1, "messages": messages}).encode())
    assert len(request.field_names) < 20
    assert request.field_names["messages[2]"] == "messages[2].content[0]"


VALID: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "Be brief.", **CACHED}],
    "messages": [*CONVERSATION, {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, PDF]}],
    "tools": [TOOL, {"type": "web_search_20260318", "name": "web_search"}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 5},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["x"],
    "stream": True,
}


def find_paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in members:
        yield from find_paths(inner, (*path, key))


@pytest.mark.parametrize(
    "value", [None, True, -1, 1e300, "", "x", [], [None], {}, {"type": "text"}, [{"type": "image"}]]
)
def test_any_value_in_any_place_is_taken_or_refused(value: Any) -> None:
    for path in find_paths(VALID):
        document: Any = {"": copy.deepcopy(VALID)}
        inner, keys = document, ["", *path]
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        with suppress(ErrBadRequest):
            assert parse(json.dumps(document[""]).encode()).messages
