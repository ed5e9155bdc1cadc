"""Requests in Ollama's form: what a client may write, and what the dispatcher is asked."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from lakehouse.chat.api.ollama.request import LoadRequest, parse_chat, parse_generate
from lakehouse.chat.model.parts import ImagePart, ImageUrl, TextPart
from lakehouse.chat.model.request import Message, OllamaRequest
from lakehouse.chat.model.tool_calls import Function, ToolCall
from lakehouse.core.errors import ErrBadRequest

PNG = b64encode(b"\x89PNG\r\n\x1a\n....").decode()
HI = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def chat(**fields: Any) -> OllamaRequest:
    parsed = parse_chat(json.dumps({"model": "m", "messages": HI, **fields}).encode())
    assert isinstance(parsed, OllamaRequest)
    return parsed


def generate(**fields: Any) -> OllamaRequest:
    parsed = parse_generate(json.dumps({"model": "m", "prompt": "Hi", **fields}).encode())
    assert isinstance(parsed, OllamaRequest)
    return parsed


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"stream": True, "think": None, "format": None, "tools": None, "ollama_fields": {}}),
        ({"stream": False}, {"stream": False}),
        ({"stream": None}, {"stream": True}),
        ({"model": "kimi/k3:latest"}, {"model": "kimi/k3", "model_name": "kimi/k3:latest"}),
        ({"model": None, "name": "qwen3:8b"}, {"model": "qwen3:8b", "model_name": "qwen3:8b"}),
        ({"think": False}, {"think": False}),
        ({"think": "high"}, {"think": "high"}),
        ({"format": ""}, {"format": None}),
        ({"format": "json"}, {"format": "json"}),
        ({"format": {"type": "object"}}, {"format": {"type": "object"}}),
        ({"tools": [TOOL]}, {"tools": (TOOL,)}),
        ({"tools": []}, {"tools": None}),
        ({"logprobs": True, "top_logprobs": 2}, {"extra": {"logprobs": True, "top_logprobs": 2}}),
        ({"logprobs": False, "top_logprobs": 0}, {"extra": {}}),
        (
            {"options": {"temperature": 0, "top_p": 0.5, "seed": 7, "num_predict": 9, "stop": ["a", "b"]}},
            {"temperature": 0, "top_p": 0.5, "seed": 7, "max_tokens": 9, "stop": ("a", "b"), "ollama_fields": {}},
        ),
        ({"options": {"num_predict": -1, "stop": "a"}}, {"max_tokens": None, "stop": "a"}),
        ({"options": {"num_ctx": 4096, "top_k": 3}}, {"ollama_fields": {"options": {"num_ctx": 4096, "top_k": 3}}}),
        ({"options": {"presence_penalty": 0.5}}, {"extra": {"presence_penalty": 0.5}}),
        ({"keep_alive": "5m", "shift": None}, {"ollama_fields": {"keep_alive": "5m"}}),
        ({"new": {"a": 1}}, {"ollama_fields": {"new": {"a": 1}}}),
    ],
)  # fmt: skip
def test_fields(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    for request in (chat(**fields), *([] if "tools" in fields else [generate(**fields)])):
        assert {name: getattr(request, name) for name in expected} == expected


def test_messages_become_the_messages_of_every_other_form() -> None:
    given = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is it?", "images": [PNG, "data:image/png;base64," + PNG]},
        {"role": "user", "images": [PNG]},
        {"role": "assistant", "content": None, "thinking": "Hm."},
    ]
    image = ImagePart(image_url=ImageUrl(url=f"data:image/png;base64,{PNG}"))
    assert chat(messages=given).messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content=(TextPart(text="What is it?"), image, image)),
        Message(role="user", content=(image,)),
        Message(role="assistant", content="", reasoning="Hm."),
    )
    assert (
        generate(system="Be brief.", prompt="What is it?", images=[PNG, PNG]).messages
        == chat(messages=[given[0], {"role": "user", "content": "What is it?", "images": [PNG, PNG]}]).messages
    )


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"RIFF\x00\x00\x00\x00WEBP", "webp"),
        (b"BM\x00", "bmp"),
        (b"II*\x00", "tiff"),
        (b"\x00\x00\x00\x18ftypheic", "heic"),
        (b"\x00\x00\x00\x18ftypavif", "avif"),
    ],
)
def test_the_media_type_of_an_image_is_found_in_its_bytes(start: bytes, kind: str) -> None:
    (image,) = chat(messages=[{"role": "user", "images": [b64encode(start).decode()]}]).messages[0].images
    assert image.image_url.url.startswith(f"data:image/{kind};base64,")


def call(name: str, arguments: object = None, **fields: object) -> dict[str, object]:
    return {"function": {"name": name, "arguments": arguments}, **fields}


def result(content: str, **fields: object) -> dict[str, object]:
    return {"role": "tool", "content": content, **fields}


@pytest.mark.parametrize(
    ("calls", "results", "ids"),
    [
        ([call("f"), call("g")], [result("1", tool_name="f"), result("2", tool_name="g")], ["call_0_0", "call_0_1"]),
        ([call("f"), call("g")], [result("2", tool_name="g"), result("1", tool_name="f")], ["call_0_1", "call_0_0"]),
        ([call("f"), call("f")], [result("1", tool_name="f"), result("2", tool_name="f")], ["call_0_0", "call_0_1"]),
        ([call("f"), call("g"), call("f")], [result("", tool_name="f"), result("", tool_name="f"), result("")], ["call_0_0", "call_0_2", "call_0_1"]),
        ([call("f"), call("g")], [result("1"), result("2")], ["call_0_0", "call_0_1"]),
        ([call("f", id="x"), call("f", id="y")], [result("2", tool_call_id="y"), result("1", tool_call_id="x")], ["y", "x"]),
        ([call("f", id="x"), call("g", id="y")], [result("2", tool_name="g"), result("1")], ["y", "x"]),
        ([call("f")], [result("1", tool_name="f"), result("2", tool_name="f")], ["call_0_0", "result_2"]),
        ([], [result("1", tool_name="f")], ["result_0"]),
    ],
)  # fmt: skip
def test_results_belong_to_calls_by_name_and_order(calls: list[Any], results: list[Any], ids: list[str]) -> None:
    first = [{"role": "assistant", "tool_calls": calls}] if calls else []
    messages = chat(messages=[*first, *results]).messages[len(first) :]
    assert [message.tool_call_id for message in messages] == ids


def test_a_new_round_begins_with_its_own_calls() -> None:
    rounds = [{"role": "assistant", "tool_calls": [call("f", {"n": n})]} for n in (1, 2)]
    first, _, second, answered = chat(messages=[rounds[0], result("", tool_name="f"), rounds[1], result("2")]).messages
    assert first.tool_calls == (ToolCall(id="call_0_0", function=Function(name="f", arguments='{"n":1}')),)
    assert (second.tool_calls[0].id, answered.tool_call_id) == ("call_2_0", "call_2_0")


def test_arguments_may_be_missing_or_a_string() -> None:
    message = chat(messages=[{"role": "assistant", "tool_calls": [call("f"), call("f", '{"a":1}')]}]).messages[0]
    assert [made.function.arguments for made in message.tool_calls] == ["{}", '{"a":1}']


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("chat", {"model": "m"}, "load"),
        ("chat", {"model": "m", "messages": []}, "load"),
        ("chat", {"model": "m", "messages": [], "keep_alive": 0}, "unload"),
        ("chat", {"model": "m", "messages": [], "keep_alive": "0s"}, "unload"),
        ("chat", {"model": "m", "messages": [], "keep_alive": -1}, "load"),
        ("generate", {"name": "m"}, "load"),
        ("generate", {"model": "m", "prompt": "", "keep_alive": 0}, "unload"),
    ],
)
def test_without_a_prompt_a_model_is_loaded_or_unloaded(path: str, body: object, reason: str) -> None:
    parse = parse_chat if path == "chat" else parse_generate
    assert parse(json.dumps(body).encode()) == LoadRequest("m", reason)


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        ("chat", {"model": None}, "model"),
        ("chat", {"model": ":latest"}, "model"),
        ("chat", {"model": 3}, "model"),
        ("chat", {"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ("chat", {"messages": [{"role": "user", "content": "x", "images": ["!"]}]}, "messages[0].images[0]"),
        ("chat", {"messages": [*HI, {"role": "user", "images": [PNG, "AAAA"]}]}, "messages[1].images[1]"),
        ("chat", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
        ("chat", {"options": {"temperature": "warm"}}, "options.temperature"),
        ("chat", {"options": 3}, "options"),
        ("chat", {"format": "yaml"}, "format"),
        ("chat", {"think": 3}, "think"),
        ("generate", {"images": ["!"]}, "images[0]"),
        ("generate", {"raw": True}, "raw"),
        ("generate", {"template": "{{ .Prompt }}"}, "template"),
        ("generate", {"suffix": "}"}, "suffix"),
        ("generate", {"context": [1, 2]}, "context"),
        ("generate", {"steps": 4}, "steps"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_field(path: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ErrBadRequest) as refused:
        (chat if path == "chat" else generate)(**fields)
    assert (refused.value.field, f"`{field}" in refused.value.message) == (field, True)


def test_empty_values_of_unsupported_fields_are_no_mistake() -> None:
    assert generate(raw=False, template="", suffix=None, context=[], steps=0) == generate()
