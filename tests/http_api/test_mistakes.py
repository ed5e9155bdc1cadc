"""Malformed requests: each gets a 400 that names the mistake, and no provider is called."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import trio

from tools.kit.service_with_providers import HELLO, ServiceWithProviders, open_service_with_providers

# A field, a value that it cannot have, and what the message must name.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": 3}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": {"role": "user", "content": "x"}}, "messages"),
    ({"messages": [1]}, "messages[0]"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "content"),
    ({"messages": [{"role": "user", "content": None}]}, "content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [*HELLO, {"role": "user", "content": "x", "mood": "good"}]}, "messages[1].mood"),
    ({"messages": [{"role": "tool", "content": "42"}]}, "tool_call_id"),
    ({"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, "content"),
    ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]}, "tool_calls[0].function"),
    ({"messages": [{"role": "user", "content": [{"type": "input_video"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].input_audio"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "more": 1}]}]},
        "messages[0].content[0].more",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "index": 0, "function": {"name": "f"}}]}]},
        "messages[0].tool_calls[0].index",
    ),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "image_url"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": []}, "top_p"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"stop": 1}, "stop"),
    ({"stop": ["a", 1]}, "stop[1]"),
    ({"seed": 1.5}, "seed"),
    ({"format": "xml"}, "format"),
    ({"format": []}, "format"),
    ({"format": {"type": "nonsense"}}, "format"),
    ({"think": 3}, "think"),
    ({"tools": {}}, "tools"),
    ({"tools": ["f"]}, "tools[0]"),
    ({"tools": [{"type": "function"}]}, "tools[0]"),
    ({"tool_choice": 3}, "tool_choice"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"tool_choice": {}}, "tool_choice"),
    ({"stream": "yes"}, "stream"),
    ({"stream": 1}, "stream"),
    ({"fallbacks": "m"}, "fallbacks"),
    ({"fallbacks": [1]}, "fallbacks[0]"),
    ({"options": []}, "options"),
    ({"user": 3}, "user"),
    ({"verbosity": "low"}, "verbosity"),
    ({"Model": "m"}, "Model"),
    ({"n": 1}, "n"),
]


async def test_a_wrong_field_is_400_and_named() -> None:
    async with open_service_with_providers() as there:
        for fields, named in WRONG:
            body = {"model": "m", "messages": HELLO, **fields}
            answer = await there.client.post("/v1/chat", json=body)
            assert answer.status_code == 400, (fields, answer.text)
            error = answer.json()["error"]
            assert (error["code"], error["status"], error["class"]) == ("ErrBadRequest", 400, None)
            assert (error["upstream_status"], error["retryable"], error["attempts"]) == (None, False, [])
            assert error["request_id"] == answer.headers["x-request-id"]
            assert named in error["message"], (fields, error["message"])
        assert there.requests == {}


async def test_a_field_that_is_required_is_named() -> None:
    async with open_service_with_providers() as there:
        for body, named in [({"messages": HELLO}, "model"), ({"model": "m"}, "messages"), ({}, "model")]:
            for path in ("/v1/chat", "/v1/chat/completions"):
                answer = await there.client.post(path, json=body)
                assert answer.status_code == 400
                assert f"`{named}` is required" in answer.json()["error"]["message"]
        assert there.requests == {}


async def test_a_mistake_in_a_stream_is_a_plain_400() -> None:
    async with open_service_with_providers() as there:
        for ask in (there.chat, there.complete):
            answer = await ask("m", stream=True, temperature="hot")
            assert answer.status_code == 400
            assert answer.headers["content-type"] == "application/json"


DEEP = 20_000

# A body that is none, and what the message must say.
BODIES: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (b"  \n", "empty"),
    (b"{", "not JSON"),
    (b'{"model":"m"', "not JSON"),
    (b"model=m", "not JSON"),
    (b"null", "object"),
    (b"[]", "object"),
    (b'"m"', "object"),
    (b"12", "object"),
    (b"\xff\xfe{}", "it is UTF-16, and JSON is sent as UTF-8"),
    (b'{"model":"\xff","messages":[]}', "UTF-8"),
    (b'{"model":"m","messages":[{"role":"user","content":"\xc3("}]}', "UTF-8"),
    (b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":NaN}', "not JSON"),
    (b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":Infinity}', "not JSON"),
    (b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1e999}', "temperature"),
    (b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}', "surrogate"),
    (b'{"model":"m","messages":[{"role":"user","content":"\\ud800 and more of it"}]}', "surrogate"),
    (b'{"model":"m","messages":[{"role":"user","content":"\\udc00\\ud800 and more"}]}', "surrogate"),
    (b'{"model":"m","messages":[{"role":"user","content":"a\nb"}]}', "not JSON"),
    (b'{"model":"m","messages":[],}', "not JSON"),
    (b'{"model":"m","messages":[{"role":"user","content":"x"}]} trailing', "not JSON"),
    (b'{"options":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}", "nested too deeply"),
    (b'{"tools":' + b"[" * DEEP + b"]" * DEEP + b"}", "tools"),
    (b"[" * DEEP, "object"),
]


async def test_a_body_that_is_none_is_400_and_says_why() -> None:
    async with open_service_with_providers() as there:
        for path in ("/v1/chat", "/v1/chat/completions"):
            for body, said in BODIES:
                answer = await there.client.post(path, content=body)
                assert answer.status_code == 400, (body[:80], answer.text)
                message = answer.json()["error"]["message"]
                assert said in message or "nested too deeply" in message, (body[:80], message)
                assert len(message) < 400
        assert there.requests == {}
        assert (await there.chat("m")).status_code == 200


async def test_what_is_odd_but_json_goes_on_as_it_is() -> None:
    odd = "NUL \0, a pair 😀, a line\u2028separator, \x7f, and \u200f."
    async with open_service_with_providers() as there:
        answer = await there.chat("m", messages=[{"role": "user", "content": odd}])
        assert answer.status_code == 200
        assert there.only_request("ollama").json["messages"] == [{"role": "user", "content": odd}]
        there.clear_requests()
        body = b'{"model":"first","messages":[{"role":"user","content":"x"}],"model":"last","options":{"big":123456789012345678901234567890}}'
        assert (await there.client.post("/v1/chat", content=body)).status_code == 200
        asked = there.only_request("ollama").json
        assert asked["model"] == "last"
        options = asked["options"]
        assert isinstance(options, dict)
        assert options["big"] == pytest.approx(123456789012345678901234567890)


async def test_a_compressed_body_is_refused_in_so_many_words() -> None:
    async with open_service_with_providers() as there:
        answer = await there.client.post("/v1/chat", content=b"x", headers={"content-encoding": "gzip"})
        assert answer.status_code == 400
        assert "Content-Encoding" in answer.json()["error"]["message"]


# Bodies over `max_body`.


async def test_a_body_over_the_limit_is_413_before_it_is_read() -> None:
    async with open_service_with_providers(chatd={"max_body": "10KB"}) as there:
        for path in ("/v1/chat", "/v1/chat/completions"):
            answer = await talk(there, path, b"content-length: 99999999\r\n", b"")
            assert answer.startswith(b"HTTP/1.1 413 ")
            error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
            assert (error["status"], error["class"]) == (413, None)
            assert "10000 bytes" in error["message"]
            if path == "/v1/chat":
                assert error["code"] == "ErrTooLarge"
        assert there.requests == {}


async def test_a_body_over_the_limit_that_says_no_length_is_413_as_soon_as_it_is_over() -> None:
    piece = b"1000\r\n" + bytes(4096) + b"\r\n"
    async with open_service_with_providers(chatd={"max_body": "10KB"}) as there:
        answer = await talk(there, "/v1/chat", b"transfer-encoding: chunked\r\n", piece * 3)  # and it never ends
        assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    async with open_service_with_providers(chatd={"max_body": 1000}) as there:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
        assert (await there.client.post("/v1/chat", content=body.ljust(1000))).status_code == 200
        assert (await there.client.post("/v1/chat", content=body.ljust(1001))).status_code == 413


async def talk(there: ServiceWithProviders, path: str, headers: bytes, body: bytes) -> bytes:
    """What comes back for the beginning of a request, up to a whole answer."""
    port = int(there.service.urls[0].rpartition(":")[2])
    with trio.fail_after(20):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(b"POST %b HTTP/1.1\r\nhost: x\r\n%b\r\n%b" % (path.encode(), headers, body))
            answer = b""
            while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
                data = await stream.receive_some()
                assert data
                answer += data
    return answer


# Images.

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
DATA = f"data:image/png;base64,{PIXEL}"


def picture(url: str) -> list[dict[str, Any]]:
    """A question with a picture."""
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


REMOTE = "https://example.invalid/a.png"


async def test_an_image_goes_to_each_provider_in_its_way() -> None:
    completions = picture(DATA)
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    wanted: dict[str, Any] = {
        "ollama/m": [{"role": "user", "content": "What?", "images": [PIXEL]}],
        "ollama_cloud/m": [{"role": "user", "content": "What?", "images": [PIXEL]}],
        "openrouter/v/m": completions,
        "opencode/m": completions,
        "kimi/m": [{"role": "user", "content": [{"type": "text", "text": "What?"}, block]}],
    }
    async with open_service_with_providers() as there:
        for model, messages in wanted.items():
            for ask in (there.chat, there.complete):
                there.clear_requests()
                assert (await ask(model, messages=picture(DATA))).status_code == 200
                ((asked,),) = there.requests.values()
                assert asked.json["messages"] == messages, model


async def test_a_remote_image_is_passed_on_or_refused_and_never_fetched() -> None:
    async with open_service_with_providers() as there:
        for model in ("openrouter/v/m", "opencode/m"):
            there.clear_requests()
            assert (await there.chat(model, messages=picture(REMOTE))).status_code == 200
            ((asked,),) = there.requests.values()
            assert asked.json["messages"] == picture(REMOTE)
        there.clear_requests()
        for model in ("ollama/m", "ollama_cloud/m", "kimi/m"):
            for stream in (False, True):
                answer = await there.chat(model, messages=picture(REMOTE), stream=stream)
                refused(answer, "messages[0].content[1].image_url.url")
        assert there.requests == {}


@pytest.mark.parametrize(
    "url", ["data:image/png;base64,@@@", "data:text/plain;base64,eA==", "data:,x", "file:///etc/passwd", "x"]
)
async def test_what_is_no_image_is_refused(url: str) -> None:
    async with open_service_with_providers() as there:
        for model in ("ollama/m", "openrouter/v/m", "kimi/m"):
            refused(await there.chat(model, messages=picture(url)), "messages[0].content[1].image_url.url")
        assert there.requests == {}


def refused(answer: httpx.Response, named: str) -> None:
    """It is a 400 of ours, made before anybody was asked."""
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert named in error["message"]
    assert (error["class"], error["upstream_status"], error["attempts"]) == (None, None, [])
