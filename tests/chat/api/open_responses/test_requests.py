"""Requests of `/v1/responses`: items, fields and tools, as providers of chat completions are sent them, and mistakes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.api.open_responses.request import ResponsesRequest, parse
from lakehouse.chat.api.reasoning_envelope import encode_details
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.core.errors import ErrBadRequest

QUIRKS = Quirks(provider="p", reasoning_key="reasoning", reasoning_details=True)
SIGNED = [{"type": "reasoning.text", "text": "Hm.", "signature": "S", "format": "anthropic-claude-v1"}]
PNG = "data:image/png;base64,iVBORw0KGgo="


def read(given: Any = "Hello?", **fields: Any) -> ResponsesRequest:
    return parse(json.dumps({"model": "m", "input": given, **fields}).encode())


def encode(request: ResponsesRequest, dialect: Any = CHAT_COMPLETIONS, quirks: Quirks = QUIRKS) -> CallCodec:
    return CallCodec(dialect, request, model="m", stream=False, quirks=quirks)


def send(given: Any = "Hello?", **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encode(read(given, **fields)).body)
    return body


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def text(content: str, kind: str = "input_text") -> dict[str, str]:
    return {"type": kind, "text": content}


F_CALL = {
    "type": "function_call",
    "call_id": "c1",
    "name": "f",
    "arguments": '{"a":1}',
    "id": "fc_1",
    "status": "completed",
}
G_CALL = {"type": "function_call", "call_id": "c2", "name": "g", "namespace": "ns", "arguments": ""}
CUSTOM_CALL = {"type": "custom_tool_call", "call_id": "c3", "name": "patch", "input": "*** Begin"}
SENT_F = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
SENT_G = {"id": "c2", "type": "function", "function": {"name": "ns__g", "arguments": "{}"}}
SENT_CUSTOM = {"id": "c3", "type": "function", "function": {"name": "patch", "arguments": '{"input":"*** Begin"}'}}
ANSWERED = {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [
    {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}]}  # fmt: skip

INPUTS: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "a string": ("Hello?", [user("Hello?")]),
    "a bare message": ([{"role": "user", "content": "Hello?"}], [user("Hello?")]),
    "parts of a bare message": ([{"role": "user", "content": [text("Hel"), text("lo?")]}], [
        user([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo?"}])]),
    "a message of the developer": ([{"type": "message", "role": "developer", "content": [text("Be brief.")]}, user("Hi")], [
        {"role": "developer", "content": "Be brief."}, user("Hi")]),
    "an earlier answer": ([user("A"), ANSWERED, user("B")], [user("A"), {"role": "assistant", "content": "Hi"}, user("B")]),
    "an answer as a string": ([{"role": "assistant", "content": "Hi"}, user("B")], [
        {"role": "assistant", "content": "Hi"}, user("B")]),
    "two answers in a row": ([ANSWERED, {"role": "assistant", "content": "there"}, user("B")], [
        {"role": "assistant", "content": "Hi"}, {"role": "assistant", "content": "there"}, user("B")]),
    "a refusal": ([{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, user("B")], [
        {"role": "assistant", "content": None, "refusal": "No."}, user("B")]),
    "parallel calls, text before": (
        [ANSWERED, F_CALL, G_CALL, CUSTOM_CALL,
         {"type": "function_call_output", "call_id": "c1", "output": "12 C"},
         {"type": "function_call_output", "call_id": "c2", "output": [text("13 C"), text(" today")]},
         {"type": "custom_tool_call_output", "call_id": "c3", "output": "done"}],
        [{"role": "assistant", "content": "Hi", "tool_calls": [SENT_F, SENT_G, SENT_CUSTOM], "reasoning_details": []},
         {"role": "tool", "tool_call_id": "c1", "content": "12 C"},
         {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "13 C"}, {"type": "text", "text": " today"}]},
         {"role": "tool", "tool_call_id": "c3", "content": "done"}]),
    "text after a call": ([F_CALL, ANSWERED, {"type": "function_call_output", "call_id": "c1", "output": ""}], [
        {"role": "assistant", "content": "Hi", "tool_calls": [SENT_F], "reasoning_details": []},
        {"role": "tool", "tool_call_id": "c1", "content": ""}]),
    "an image, a file and sound": (
        [user([text("See"), {"type": "input_image", "image_url": PNG, "detail": "low"},
               {"type": "input_file", "file_url": "https://x/a.pdf", "filename": "a.pdf"},
               {"type": "input_file", "file_id": "file-1"},
               {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}])],
        [user([{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
               {"type": "file", "file": {"file_data": "https://x/a.pdf", "filename": "a.pdf"}},
               {"type": "file", "file": {"file_id": "file-1"}},
               {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}])]),
    "an image as a result": ([F_CALL, {"type": "function_call_output", "call_id": "c1", "output": [
        {"type": "input_image", "image_url": PNG}]}], [
        {"role": "assistant", "content": None, "tool_calls": [SENT_F], "reasoning_details": []},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        user([{"type": "text", "text": "The tool returned this:"}, {"type": "image_url", "image_url": {"url": PNG}}])]),
    "signed reasoning": (
        [{"type": "reasoning", "id": "rs_1", "summary": [text("Hm.", "summary_text")], "encrypted_content": encode_details(SIGNED)},
         ANSWERED, user("B")],
        [{"role": "assistant", "content": "Hi", "reasoning": "Hm.", "reasoning_details": SIGNED}, user("B")]),
    "reasoning without a signature": (
        [{"type": "reasoning", "id": "rs_1", "summary": [text("Hm.", "summary_text")]}, F_CALL,
         {"type": "function_call_output", "call_id": "c1", "output": "x"}],
        [{"role": "assistant", "content": None, "tool_calls": [SENT_F], "reasoning": "Hm.", "reasoning_details": []},
         {"role": "tool", "tool_call_id": "c1", "content": "x"}]),
    "damaged reasoning": (
        [{"type": "reasoning", "summary": [], "encrypted_content": encode_details(SIGNED)[:-4]}, ANSWERED, user("B")],
        [{"role": "assistant", "content": "Hi"}, user("B")]),
    "a search that was made elsewhere": ([{"type": "web_search_call", "id": "ws_1", "status": "completed"}, user("B")], [user("B")]),
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_items_become_messages(name: str) -> None:
    given, messages = INPUTS[name]
    assert send(given)["messages"] == messages
    instructed = send(given, instructions="Be kind.")["messages"]
    assert instructed == [{"role": "system", "content": "Be kind."}, *messages]


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
DESCRIBED = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True, "description": "D."}
FIELDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "limit and sampling": ({"max_output_tokens": 9, "temperature": 0.5, "top_p": 0.9}, {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9}),
    "effort": ({"reasoning": {"effort": "high", "summary": "detailed"}}, {"reasoning_effort": "high"}),
    "no effort": ({"reasoning": {"effort": "none"}}, {"reasoning_effort": "none"}),
    "a schema": ({"text": {"format": DESCRIBED}}, {"response_format": {"type": "json_schema", "json_schema": {
        "name": "n", "schema": SCHEMA, "strict": True, "description": "D."}}}),
    "any JSON": ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}, "messages": [
        {"role": "system", "content": "Answer with JSON only."}, user("Hello?")]}),
    "plain text": ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
    "parallel calls": ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
    "who asks": ({"user": "u", "safety_identifier": "s", "prompt_cache_key": "k"}, {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k"}),
    "tier": ({"service_tier": "flex"}, {"service_tier": "flex"}),
    "probabilities": ({"include": ["message.output_text.logprobs"], "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
    "nothing of nulls": (dict.fromkeys(("tools", "reasoning", "text", "previous_response_id", "prompt", "novel", "store")), {}),
    "defaults": ({"store": False, "background": False, "truncation": "disabled", "include": ["reasoning.encrypted_content"]}, {}),
    "hints": ({"store": True, "metadata": {"a": "b"}, "client_metadata": {"x": "y"}, "max_tool_calls": 3,
               "stream_options": {"include_obfuscation": False}, "reasoning": {"context": "auto"},
               "include": ["web_search_call.action.sources"], "prompt_cache_options": {"mode": "implicit"}}, {}),
}  # fmt: skip
HINTS = {
    "store", "metadata", "client_metadata", "max_tool_calls", "stream_options", "reasoning.context", "include",
    "prompt_cache_options",
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_fields(name: str) -> None:
    given, expected = FIELDS[name]
    base = send()
    assert send(**given) == {**base, **expected}
    assert set(encode(read(**given)).changes.left_out) == (HINTS if name == "hints" else set())


def test_a_provider_of_the_same_form_is_sent_the_fields_as_they_are() -> None:
    own = {
        "metadata": {"a": "b"},
        "client_metadata": {"x": "y"},
        "max_tool_calls": 3,
        "stream_options": {"include_obfuscation": False},
        "truncation": "auto",
        "novel": [1],
        "prompt_cache_options": {"mode": "implicit"},
    }
    reasoning = {"effort": "high", "summary": "detailed", "context": "auto"}
    text = {"format": DESCRIBED, "verbosity": "low", "novel": 1}
    include = ["web_search_call.action.sources", "reasoning.encrypted_content"]
    codec = encode(read(**own, store=True, reasoning=reasoning, text=text, include=include), RESPONSES)
    body = json.loads(codec.body)
    assert {name: body[name] for name in own} == own
    assert (body["store"], body["reasoning"], body["text"]) == (False, reasoning, text)
    assert body["include"] == include[::-1]
    assert codec.changes.left_out == ["store"]


def function(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": {"type": "object"}, **fields}


def sent_function(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}, **fields}}


LONG = "n" * 60
TOOLS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "a function": ([function("f", description="F.", strict=True)], [sent_function("f", description="F.", strict=True)]),
    "nulls": ([function("f", description=None, strict=None)], [sent_function("f")]),
    "a namespace": (
        [{"type": "namespace", "name": "ns", "description": "N.", "tools": [function("f", description="F."), function("g")]}],
        [sent_function("ns__f", description="N.\n\nF."), sent_function("ns__g")]),
    "names that no provider takes": (
        [{"type": "namespace", "name": "a.b", "tools": [function("f/g")]}, {"type": "namespace", "name": LONG, "tools": [function(LONG)]}],
        [sent_function("a_b__f_g_e313b11c"), sent_function(f"{LONG[:55]}_0826d2fb")]),
    "a name that is taken": (
        [{"type": "namespace", "name": "ns", "tools": [function("f")]}, function("ns__f")],
        [sent_function("ns__f_cb1cc749"), sent_function("ns__f")]),
    "a search is left out": ([{"type": "web_search", "external_web_access": True}, function("f")], [sent_function("f")]),
}  # fmt: skip


@pytest.mark.parametrize("name", TOOLS)
def test_tools(name: str) -> None:
    given, expected = TOOLS[name]
    request = read(tools=given)
    assert json.loads(encode(request).body)["tools"] == expected
    assert all(len(tool["function"]["name"]) <= 64 for tool in expected)
    pairs = [
        (inner["name"], tool["name"])
        for tool in given
        if tool["type"] == "namespace"
        for inner in tool["tools"]
    ]  # fmt: skip
    for pair in pairs:
        assert request.names.split(request.names.join(*pair)) == pair


CHOICES: dict[str, tuple[Any, Any]] = {
    "auto": ("auto", "auto"),
    "required": ("required", "required"),
    "none": ("none", "none"),
    "a function": ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    "in a namespace": ({"type": "function", "name": "g", "namespace": "ns"}, {"type": "function", "function": {"name": "ns__g"}}),
    "a custom tool": ({"type": "custom", "name": "patch"}, {"type": "function", "function": {"name": "patch"}}),
    "some of them": (
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}, "required"),
}  # fmt: skip
OFFERED = [
    function("f"),
    {"type": "namespace", "name": "ns", "tools": [function("g")]},
    {"type": "custom", "name": "patch", "format": {"type": "text"}},
]


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name: str) -> None:
    given, expected = CHOICES[name]
    body = send(tools=OFFERED, tool_choice=given)
    assert body["tool_choice"] == expected
    offered = [tool["function"]["name"] for tool in body["tools"]]
    assert offered == (["f"] if name == "some of them" else ["f", "ns__g", "patch"])


STORED = {"previous_response_id": "resp_1", "conversation": "conv_1", "prompt": {"id": "p"}, "background": True}
MISTAKES: dict[str, tuple[Any, str]] = {
    **{name: ({name: value}, name) for name, value in STORED.items()},
    "no input": ({"input": None}, "input"),
    "an empty input": ({"input": []}, "input"),
    "an item without a type": ({"input": [{"content": "Hi"}]}, "input[0].type"),
    "a role": ({"input": [{"role": "tool", "content": "Hi"}]}, "input[0].role"),
    "a message without content": ({"input": [{"role": "user"}]}, "input[0].content"),
    "a part without a type": ({"input": [{"role": "user", "content": [{"text": "Hi"}]}]}, "input[0].content[0].type"),
    "an image without a URL": ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
    "a file without data": ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].file_data"),
    "a call without an id": ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
    "an output without an id": ({"input": [{"type": "function_call_output", "output": ""}]}, "input[0].call_id"),
    "an output of a wrong type": ({"input": [{"type": "function_call_output", "call_id": "c", "output": 1}]}, "input[0].output"),
    "a reference": ({"input": [user("Hi"), {"type": "item_reference", "id": "msg_1"}]}, "input[1]"),
    "a limit of nothing": ({"max_output_tokens": 0}, "max_output_tokens"),
    "a tool without a type": ({"tools": [{"name": "f"}]}, "tools[0].type"),
    "a tool without a name": ({"tools": [{"type": "function"}]}, "tools[0].name"),
    "a namespaced tool without a name": ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}, "tools[0].tools[0].name"),
    "a choice without a name": ({"tools": OFFERED, "tool_choice": {"type": "function"}}, "tool_choice.name"),
    "a format": ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    "a stream that is no boolean": ({"stream": "yes"}, "stream"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str) -> None:
    fields, field = MISTAKES[name]
    with pytest.raises(ErrBadRequest) as caught:
        read(**{"given": fields.pop("input")} if "input" in fields else {}, **fields)
    assert caught.value.field == field
    assert f"`{field}`" in caught.value.message


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    **{kind: ({"tools": [function("f"), {"type": kind}]}, "tools[1].type", kind)
       for kind in ("file_search", "code_interpreter", "mcp", "image_generation", "computer_use_preview", "tool_search")},
    "a tool inside": ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]}, "tools[0].tools[0].type", "mcp"),
    "a demanded search": ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice.type", "web_search"),
    "only a search is allowed": ({"tools": [{"type": "web_search"}], "tool_choice": {
        "type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}}, "tool_choice.tools", ""),
    "a required search": ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice", "no `tools`"),
    "an item": ({"given": [user("Hi"), {"type": "mcp_call", "id": "x"}]}, "input[1].type", "mcp_call"),
    "an only item": ({"given": [{"type": "compaction", "encrypted_content": "x"}]}, "input[0].type", "compaction"),
    "a part": ({"given": [user([{"type": "input_novel"}])]}, "input[0].content[0].type", "input_novel"),
    "a stored image": ({"given": [user([{"type": "input_image", "file_id": "file-1"}])]}, "input[0].content[0].file_id", ""),
    "an unknown field": ({"novel": 1}, "novel", ""),
    "an unknown member": ({"reasoning": {"novel": 1}}, "reasoning.novel", ""),
    "truncation": ({"truncation": "auto"}, "truncation", ""),
    "moderation": ({"moderation": {"model": "m"}}, "moderation", ""),
}  # fmt: skip


OWN = {"novel", "reasoning.novel", "truncation", "moderation"}
"""Fields that a provider of the same form is sent."""


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("dialect", [CHAT_COMPLETIONS, MESSAGES, OLLAMA, RESPONSES], ids=lambda dialect: dialect.path)
def test_what_cannot_be_carried_is_refused_by_name(name: str, dialect: Any) -> None:
    fields, field, quoted = REFUSED[name]
    request = read(**fields)
    if field in OWN and dialect is RESPONSES:
        assert field.split(".")[0] in json.loads(encode(request, dialect).body)
        return
    with pytest.raises(ErrBadRequest) as caught:
        encode(request, dialect)
    assert caught.value.field == field
    assert quoted in caught.value.message


@pytest.mark.parametrize(
    ("fields", "dialect", "field"),
    [
        ({"text": {"verbosity": "high"}}, MESSAGES, "text.verbosity"),
        ({"top_logprobs": 2}, MESSAGES, "include"),
        ({"reasoning": {"effort": "much"}}, MESSAGES, "reasoning.effort"),
        ({"given": [user("Hi"), user([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}])],
          "instructions": "Be kind."}, MESSAGES, "input[1].content[0]"),
        ({"parallel_tool_calls": False, "tools": OFFERED}, OLLAMA, "parallel_tool_calls"),
    ],
)  # fmt: skip
def test_errors_of_a_dialect_name_the_field_of_this_form(fields: dict[str, Any], dialect: Any, field: str) -> None:
    with pytest.raises(ErrBadRequest) as caught:
        encode(read(**fields), dialect, Quirks(provider="p"))
    assert caught.value.field == field
