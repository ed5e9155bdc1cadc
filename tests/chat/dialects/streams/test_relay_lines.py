"""Relayed chats of Ollama at the level of bytes: what the provider is sent, and what the client is."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.api.ollama.request import parse_chat
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.relay.relay_codec import RelayCodec
from lakehouse.chat.model.pieces import ContentPiece, Delta, ReasoningPiece, RelayedPiece, ToolCallPiece
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.chat.model.request import OllamaRequest
from lakehouse.core.errors import LakehouseError
from tools.kit.examples import count_examples

QUIRKS: dict[str, Any] = {
    "provider": "ollama",
    "default_think": False,
    "reasoning_key": "thinking",
    "images": "data",
    "schema_in_prompt": True,
    "inline_think": "tagged",
}
HI = [{"role": "user", "content": "Hi"}]
PLAIN: dict[str, Any] = {"model": "ollama/m", "messages": HI}
CALL = {"function": {"name": "look", "arguments": {"at": "sky"}}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
REFERRING = {"type": "function", "function": {"name": "look", "parameters": {"$ref": "#/$defs/a"}}}


def make_codec(*, stream: bool = True, quirks: dict[str, Any] | None = None, **fields: Any) -> RelayCodec | None:
    body = json.dumps({**PLAIN, "stream": stream, **fields}).encode()
    request = parse_chat(body)
    assert isinstance(request, OllamaRequest)
    raw = RawRequest(form="ollama", body=body)
    return RelayCodec.create(
        OLLAMA, request, raw, model="m", stream=stream, quirks=Quirks(**{**QUIRKS, **(quirks or {})})
    )


SENT: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "plain": ({}, {}, True),
    "unknown fields": ({"new": {"a": None}, "options": {"num_ctx": 5, "newer": 1}, "keep_alive": 0}, {}, True),
    "thinking": ({"think": True}, {}, True),
    "a level": ({"think": "high"}, {}, True),
    "a level that it has not": ({"think": "xhigh"}, {}, False),
    "null": ({"think": None}, {}, False),
    "no default": ({}, {"default_think": None}, True),
    "tools": ({"tools": [TOOL], "messages": [*HI, {"role": "assistant", "tool_calls": [CALL]}]}, {}, True),
    "a result": ({"messages": [*HI, {"role": "tool", "tool_name": "look", "content": "7"}]}, {}, True),
    "references": ({"tools": [REFERRING]}, {}, False),
    "arguments in a string": (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
        {},
        False,
    ),
    "an image": ({"messages": [{"role": "user", "content": "", "images": ["iVBORw0KGgo="]}]}, {}, True),
    "an image as a URL": (
        {"messages": [{"role": "user", "images": ["data:image/png;base64,iVBORw0KGgo="]}]},
        {},
        False,
    ),
    "thought": ({"messages": [{"role": "assistant", "content": "a", "thinking": "t"}]}, {}, True),
    "thought that is not sent": (
        {"messages": [{"role": "assistant", "content": "a", "thinking": "t"}]},
        {"reasoning_key": None},
        False,
    ),
    "a developer": ({"messages": [{"role": "developer", "content": "D"}]}, {}, False),
    "a format": ({"format": "json"}, {}, False),
    "one stop sequence": ({"options": {"stop": "x"}}, {}, False),
    "stop sequences": ({"options": {"stop": ["x"]}}, {}, True),
    "sampling": ({"options": {"temperature": 0}}, {"send_temperature": False}, False),
    "a limit of the provider": ({}, {"default_max_tokens": 5}, False),
    "fields of the provider": ({}, {"extra_body": {"a": 1}}, False),
    "the older word for the model": ({"model": None, "name": "ollama/m"}, {}, False),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "quirks", "relayed"), SENT.values(), ids=SENT)
def test_a_request_is_relayed_unless_something_must_be_changed(
    fields: dict[str, Any], quirks: dict[str, Any], relayed: bool, stream: bool
) -> None:
    codec = make_codec(stream=stream, quirks=quirks, **fields)
    assert (codec is not None) is relayed
    if codec is not None:
        sent = json.dumps({**PLAIN, "stream": stream, **fields, "model": "m"})
        adds = "think" not in fields and "default_think" not in quirks
        assert codec.body.decode() == (sent[:-1] + ',"think":false}' if adds else sent)


def line(content: str = "", *, done: bool = False, **message: Any) -> bytes:
    end = {"done_reason": "stop", "eval_count": 3, "load_duration": 7} if done else {}
    said = {"role": "assistant", "content": content, **message}
    document = {"model": "m:latest", "created_at": "2026-01-01T00:00:00Z", "message": said, "done": done, "x": 1, **end}
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


STREAMS = {
    "text": line("Hel") + line('lo "model"') + line(done=True),
    "thought": line(thinking="Hm.") + line("Hello") + line(done=True),
    "calls": line("Wait.") + line(tool_calls=[CALL, CALL]) + line(done=True),
    "blank lines": line("Hel") + b"\n  \n" + line("lo") + line(done=True),
    "CRLF": (line("Hel") + line("lo") + line(done=True)).replace(b"\n", b"\r\n"),
    "no end of the last line": (line("Hello") + line(done=True))[:-1],
    "characters that end lines": line("H\u2028el") + line("l\u2029\u0085ö") + line(done=True),
    "the beginning of a tag": line(" <thi") + line("s> is no tag") + line(done=True),
}


def read(data: bytes, cuts: list[int]) -> tuple[list[Delta], LakehouseError | None]:
    codec = make_codec()
    assert codec is not None
    parser = codec.make_parser()
    deltas: list[Delta] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for begin, end in pairwise(edges):
            if begin < end:
                deltas += parser.feed(data[begin:end])
        deltas += parser.flush()
        parser.end()
    except LakehouseError as error:
        return deltas, error
    return deltas, None


def passed_on(deltas: list[Delta]) -> bytes:
    return b"".join([delta.data for delta in deltas if isinstance(delta, RelayedPiece)])


def renamed(data: bytes) -> bytes:
    for char in ("\u2028", "\u2029", "\u0085"):
        data = data.replace(char.encode(), f"\\u{ord(char):04x}".encode())
    return data.replace(b'"m:latest"', b'"ollama/m"')


@pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS)
@settings(max_examples=count_examples(40))
@given(cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_any_split_gives_the_same_bytes_but_for_the_models_name(data: bytes, cuts: list[int]) -> None:
    deltas, error = read(data, cuts)
    assert error is None
    assert all(isinstance(delta, RelayedPiece) for delta in deltas)
    whole = data.replace(b"\n\n  \n", b"\n")
    assert passed_on(deltas) == renamed(whole if whole.endswith(b"\n") else whole + b"\n")


@pytest.mark.parametrize("data", [STREAMS["text"], STREAMS["thought"], STREAMS["calls"]])
def test_any_truncation_before_the_last_line_fails_after_whole_lines(data: bytes) -> None:
    for end in range(data.rindex(b'"done_reason"')):
        deltas, error = read(data[:end], [end // 2])
        assert error is not None, end
        out = passed_on(deltas)
        assert renamed(data).startswith(out)
        assert b'"done": true' not in out
        assert out == b"" or out.endswith(b"\n")


@pytest.mark.parametrize("together", [False, True])
def test_what_follows_an_error_is_not_passed_on(together: bool) -> None:
    data = line("Hel") + b'{"error": "out of memory"}\n' + line("lo") + line(done=True)
    deltas, error = read(data, [] if together else list(range(0, len(data), 3)))
    assert error is not None
    assert "out of memory" in error.message
    assert passed_on(deltas) == renamed(line("Hel"))


REBUILT: dict[str, tuple[bytes, list[type], bytes]] = {
    "a tag": (
        line("<think>Hm.") + line("</think>Hello") + line(done=True),
        [ReasoningPiece, ContentPiece],
        b"",
    ),
    "a tag in pieces": (
        line(" <thi") + line("nk>Hm.</think>") + line("Hello") + line(done=True),
        [ReasoningPiece, ContentPiece],
        b"",
    ),
    "arguments in a string": (
        line("Wait.") + line(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]) + line(done=True),
        [ToolCallPiece],
        line("Wait."),
    ),
    "no time": (line("Hello").replace(b'"created_at"', b'"created"') + line(done=True), [ContentPiece], b""),
    "another reason": (
        line("Hello") + line(done=True).replace(b'"stop"', b'"finished"'),
        [],
        line("Hello"),
    ),
}


@pytest.mark.parametrize("step", [1, 50, 10**6])
@pytest.mark.parametrize(("data", "kinds", "before"), REBUILT.values(), ids=REBUILT)
def test_what_is_not_well_formed_is_rebuilt_from_there_on(
    data: bytes, kinds: list[type], before: bytes, step: int
) -> None:
    deltas, error = read(data, list(range(0, len(data), step)))
    assert error is None
    relayed = [delta for delta in deltas if isinstance(delta, RelayedPiece)]
    assert passed_on(deltas) == renamed(before)
    assert deltas[: len(relayed)] == relayed
    assert list(dict.fromkeys(type(delta) for delta in deltas[len(relayed) :])) == kinds


@pytest.mark.parametrize(
    ("body", "relayed"),
    [
        (line("Hello", done=True), True),
        (line("<think>Hm.</think>Hello", done=True), False),
        (line("Hello", done=True).replace(b'"stop"', b'"finished"'), False),
        (line("Hello", done=True).replace(b"created_at", b"made_at"), False),
    ],
)
def test_a_whole_answer_is_relayed_if_it_is_sound(body: bytes, relayed: bool) -> None:
    codec = make_codec(stream=False)
    assert codec is not None
    answer, passed = codec.decode(body.strip())
    assert answer.content
    assert passed == (renamed(body.strip()) if relayed else None)
