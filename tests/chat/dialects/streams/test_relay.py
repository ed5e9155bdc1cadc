"""Relayed chat completions at the level of bytes: what the provider is sent, and what the client is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.api.anthropic.request import parse as parse_messages
from lakehouse.chat.api.openai.request import parse
from lakehouse.chat.api.reasoning_envelope import encode_details
from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.relay.relay_codec import RelayCodec
from lakehouse.chat.model.pieces import ContentPiece, Delta, RelayedPiece, ToolCallPiece
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.core.errors import LakehouseError
from tools.kit.examples import count_examples

# Streams


def chunk(finish: str | None = None, usage: dict[str, Any] | None = None, **delta: Any) -> dict[str, Any]:
    choices = [] if usage else [{"index": 0, "delta": delta, "finish_reason": finish}]
    more = {"usage": usage} if usage else {}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "vendor/m-2026",
        "choices": choices,
        "x": {"model": "inner"},
        **more,
    }


def event(document: dict[str, Any], *, space: bool = True) -> bytes:
    return b"data:" + b" " * space + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
PARTS = [{"index": 0, "function": {"arguments": part}} for part in ('{"a"', ":1}")]
DONE = b"data: [DONE]\n\n"
TEXT = [chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content='lo "model"'), chunk("stop")]
CALLS = [
    chunk(role="assistant", content=None),
    chunk(content="Wait."),
    chunk(tool_calls=[CALL]),
    *[chunk(tool_calls=[part]) for part in PARTS],
    chunk("tool_calls"),
]
STREAMS = {
    "text": b"".join(map(event, TEXT)) + event(chunk(usage=USAGE)) + DONE,
    "calls": b"".join(map(event, CALLS)) + event(chunk(usage=USAGE)) + DONE,
    "CRLF and no space": b"".join(event(one, space=False) for one in TEXT).replace(b"\n", b"\r\n") + DONE,
    "names, ids and comments beside": b"".join(b"event: chunk\nid: 7\n: x\n" + event(one) for one in TEXT) + DONE,
    "no end mark": b"".join(map(event, TEXT)),
    "fields that nobody here knows": b"".join(event({**one, "obfuscation": "abc", "n": None}) for one in TEXT) + DONE,
    "several lines of data": event(TEXT[1]).replace(b',"choices"', b',\ndata: "choices"') + event(TEXT[3]) + DONE,
}
BODY = (
    b'{"model":"x/m","messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":%b}}'
)


def make_parser(*, include_usage: bool = True) -> StreamParser:
    body = BODY % (b"true" if include_usage else b"false")
    if not include_usage:
        body = body.replace(b',"stream_options":{"include_usage":false}', b"")
    query = parse(body)
    raw = RawRequest(form="chat_completions", body=body, include_usage=query.include_usage)
    codec = RelayCodec.create(CHAT_COMPLETIONS, query.request, raw, model="m", stream=True, quirks=Quirks())
    assert codec is not None
    return codec.make_parser()


def read(data: bytes, cuts: list[int], *, include_usage: bool = True) -> tuple[list[Delta], LakehouseError | None]:
    """The deltas of a stream that is read in pieces, and what it failed with."""
    parser = make_parser(include_usage=include_usage)
    deltas: list[Delta] = []
    try:
        for part in split(data, cuts):
            deltas += parser.feed(part)
        deltas += parser.flush()
        parser.end()
    except LakehouseError as error:
        return deltas, error
    return deltas, None


def split(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return (data[begin:end] for begin, end in pairwise(edges) if begin < end)


def passed_on(deltas: list[Delta]) -> bytes:
    assert all(isinstance(delta, RelayedPiece) for delta in deltas)
    return b"".join([delta.data for delta in deltas if isinstance(delta, RelayedPiece)])


def renamed(data: bytes) -> bytes:
    return data.replace(b'"vendor/m-2026"', b'"m"')


@pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS)
@settings(max_examples=count_examples(40))
@given(cuts=st.lists(st.integers(0, 4000), max_size=8))
def test_any_split_gives_the_same_bytes_but_for_the_models_name(data: bytes, cuts: list[int]) -> None:
    deltas, error = read(data, cuts)
    assert error is None
    whole = data if data.endswith(DONE) else data + DONE
    if b"data: {" in data and b',\ndata: "choices"' not in data:
        assert passed_on(deltas) == renamed(whole)
    else:
        assert msgspec_documents(passed_on(deltas)) == msgspec_documents(renamed(whole))


def msgspec_documents(data: bytes) -> list[object]:
    """The documents of a stream, whose lines of data may be divided in another way."""
    found = []
    for block in data.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]:
        joined = b"\n".join([line[5:] for line in block.split(b"\n") if line.startswith(b"data:")])
        found.append(None if joined.strip() == b"[DONE]" else msgspec.json.decode(joined))
    return found


@pytest.mark.parametrize("data", [STREAMS["text"], STREAMS["calls"]], ids=["text", "calls"])
def test_any_truncation_before_the_finish_reason_fails_after_whole_events(data: bytes) -> None:
    finish = data.index(b'"finish_reason":"')
    for end in range(finish):
        deltas, error = read(data[:end], [end // 2])
        assert error is not None, end
        assert error.error_class in ("incomplete_stream", "empty_response") or end < len(b"data:")
        out = passed_on(deltas)
        assert renamed(data).startswith(out)
        assert out == b"" or out.endswith(b"\n\n")
        assert b"[DONE]" not in out


@pytest.mark.parametrize("together", [False, True])
def test_what_follows_an_error_is_not_passed_on(together: bool) -> None:
    told = event({"error": {"message": "out of memory", "code": 500}})
    data = event(TEXT[1]) + told + event(TEXT[2]) + DONE
    deltas, error = read(data, [] if together else list(range(0, len(data), 3)))
    assert error is not None
    assert "out of memory" in error.message
    assert passed_on(deltas) == renamed(event(TEXT[1]))


def test_nothing_is_passed_on_before_the_answer_begins() -> None:
    parser = make_parser()
    assert parser.feed(b": PROCESSING\n\n") == []
    assert parser.feed(event(TEXT[0])) == []
    assert not parser.made_progress
    assert passed_on(parser.feed(event(TEXT[1]))) == renamed(event(TEXT[0]) + event(TEXT[1]))
    assert parser.feed(b": PROCESSING\n\n") == []  # no progress: a silent answer is left all the same


def test_usage_that_the_client_did_not_ask_for_is_kept_back_and_counted() -> None:
    parser = make_parser(include_usage=False)
    out = passed_on([*parser.feed(STREAMS["text"]), *parser.flush()])
    assert out == renamed(b"".join(map(event, TEXT)) + DONE)
    assert parser.end().usage.input_tokens == 7


REBUILT: dict[str, tuple[bytes, list[type], bytes]] = {
    "chunks without an id": (
        b"".join(event({k: v for k, v in one.items() if k != "id"}) for one in TEXT) + DONE,
        [ContentPiece, ContentPiece],
        b"",
    ),
    "a name in pieces": (
        b"".join(map(event, CALLS[:3]))
        + event(chunk(tool_calls=[{"index": 0, "function": {"name": "_up", "arguments": "{}"}}]))
        + event(chunk("tool_calls"))
        + DONE,
        [ToolCallPiece],
        b"".join(map(event, CALLS[:2])),
    ),
    "another finish reason than the calls": (
        b"".join(map(event, CALLS[:-1])) + event(chunk("stop")) + DONE,
        [ToolCallPiece],
        b"".join(map(event, CALLS[:2])),
    ),
    "reasoning under another name": (
        event(chunk(reasoning="Hm.")) + b"".join(map(event, TEXT)) + DONE,
        [ContentPiece, ContentPiece],
        b"",
    ),
    "counts beside the last choice": (
        b"".join(map(event, TEXT[:-1])) + event({**chunk("stop"), "usage": USAGE}) + DONE,
        [],
        b"".join(map(event, TEXT[:-1])),
    ),
    "a whole body instead of a stream": (
        json.dumps(
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}]}
        ).encode(),
        [ContentPiece],
        b"",
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
    assert b"".join([piece.data for piece in relayed]) == renamed(before)
    assert deltas[: len(relayed)] == relayed
    rest = [type(delta) for delta in deltas[len(relayed) :] if type(delta).__name__ != "ReasoningPiece"]
    assert rest == kinds


# Messages


def named(document: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), json.dumps(document).encode())


def message_start(tokens: int = 7) -> dict[str, Any]:
    usage = {"input_tokens": tokens, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "vendor/m-2026", "content": []}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *[{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", "index": index},
    ]


THOUGHT = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "Hm."},
    {"type": "signature_delta", "signature": "Sig"},
)
SAID = block(1, {"type": "text", "text": ""}, *[{"type": "text_delta", "text": text} for text in ("Hel", 'lo "model"')])
USE = block(
    2,
    {"type": "tool_use", "id": "tu_1", "name": "look", "input": {}},
    *[{"type": "input_json_delta", "partial_json": part} for part in ('{"model"', ": 1}")],
)
STOP: list[dict[str, Any]] = [
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}, "nobody": 1.50},
    {"type": "message_stop"},
]
PING: dict[str, Any] = {"type": "ping"}
MESSAGE = [named(one) for one in [message_start(), PING, *THOUGHT, *SAID, *USE, *STOP]]


def read_message(data: bytes, cuts: list[int]) -> tuple[list[Delta], LakehouseError | None]:
    body = b'{"model":"x/m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}],"stream":true}'
    raw = RawRequest(form="messages", body=body)
    request = parse_messages(body)
    codec = RelayCodec.create(MESSAGES, request, raw, model="m", stream=True, quirks=Quirks())
    assert codec is not None
    parser, deltas = codec.make_parser(), []
    try:
        for part in split(data, cuts):
            deltas += parser.feed(part)
        deltas += parser.flush()
        parser.end()
    except LakehouseError as error:
        return deltas, error
    return deltas, None


@settings(max_examples=count_examples(60))
@given(cuts=st.lists(st.integers(0, 4000), max_size=8))
def test_any_split_of_a_message_gives_the_same_bytes(cuts: list[int]) -> None:
    data = b"".join(MESSAGE)
    deltas, error = read_message(data, cuts)
    assert (passed_on(deltas), error) == (data.replace(b'"vendor/m-2026"', b'"x/m"'), None)


def test_any_truncation_of_a_message_fails_after_whole_events() -> None:
    data = b"".join(MESSAGE)
    for end in range(len(b"event:"), len(data) - len(b'"message_stop"}\n\n')):
        deltas, error = read_message(data[:end], [end // 2])
        assert error is not None, end
        assert error.error_class in ("incomplete_stream", "empty_response")
        out = passed_on(deltas)
        assert data.replace(b'"vendor/m-2026"', b'"x/m"').startswith(out)
        assert out == b"" or out.endswith(b"\n\n")
        assert b"message_stop" not in out


def test_fragments_of_a_call_leave_as_they_arrive() -> None:
    parser_input = MESSAGE[: -len(STOP) - 2]
    deltas, error = read_message(b"".join(parser_input), [len(one) for one in parser_input])
    assert error is not None
    assert b"input_json_delta" in passed_on(deltas)


def test_a_message_whose_input_is_not_counted_is_rebuilt() -> None:
    data = b"".join([named(message_start(0)), *MESSAGE[1:]])
    deltas, error = read_message(data, [100, 200])
    assert error is None
    assert not [delta for delta in deltas if isinstance(delta, RelayedPiece)]


DOCUMENTS: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "plain": ({}, {}, True),
    "unknown fields and null": (
        {"nobody": {"knows": None}, "system": [{"type": "text", "text": "s", "x": 1}]},
        {},
        True,
    ),
    "sampling": ({"temperature": 0.5, "top_k": 3}, {}, True),
    "no temperature": ({"temperature": 0.5}, {"send_temperature": False}, False),
    "metadata": ({"metadata": {"user_id": "u"}}, {"send_user": False}, False),
    "a budget": ({"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000}, {}, True),
    "a budget for a model that is adaptive": (
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000},
        {"messages_thinking": "adaptive"},
        False,
    ),
    "signed thinking": (
        {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "a", "signature": "S"}]}]},
        {},
        True,
    ),
    "unsigned thinking": (
        {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "a", "signature": ""}]}]},
        {},
        False,
    ),
    "an envelope": (
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "a", "signature": encode_details([{"type": "x"}])},
                        {"type": "text", "text": "b"},
                    ],
                }
            ]
        },
        {},
        False,
    ),
    "a schema": (
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        {},
        False,
    ),
}


@pytest.mark.parametrize(("fields", "quirks", "relayed"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_is_relayed_unless_something_must_be_changed(
    fields: dict[str, Any], quirks: dict[str, Any], relayed: bool
) -> None:
    document = {"model": "x/m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **fields}
    body = json.dumps(document).encode()
    raw = RawRequest(form="messages", body=body)
    request = parse_messages(body)
    codec = RelayCodec.create(MESSAGES, request, raw, model="m", stream=False, quirks=Quirks(**quirks))
    assert (codec is not None) is relayed
    if codec is not None:
        assert codec.body == json.dumps({**document, "model": "m"}).encode()


# Which requests

PLAIN: dict[str, Any] = {"model": "x/m", "messages": [{"role": "user", "content": "Hi"}]}
FUNCTION = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
USED = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": None, "tool_calls": [USED]},
    {"role": "tool", "tool_call_id": "call_1", "content": "7"},
]
SENT: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "plain": ({}, {}, True),
    "an unknown field": ({"nobody": {"knows": None}}, {}, True),
    "sampling": ({"temperature": 0.5, "user": "u", "stop": ["a"]}, {}, True),
    "tools": ({"tools": [FUNCTION], "tool_choice": "auto"}, {}, True),
    "a conversation with tools": ({"messages": TALK, "tools": [FUNCTION]}, {}, True),
    "effort": ({"reasoning_effort": "low"}, {}, True),
    "fallbacks": ({"fallbacks": ["y/m"]}, {}, True),
    "null": ({"temperature": None}, {}, False),
    "an empty list": ({"stop": []}, {}, False),
    "null in a message": ({"messages": [{"role": "assistant", "content": "a", "refusal": None}]}, {}, False),
    "a format": ({"response_format": {"type": "json_object"}}, {}, False),
    "think": ({"think": False}, {}, False),
    "effort that has another name": ({"reasoning_effort": "low"}, {"completions_thinking": "openrouter"}, False),
    "a limit that has another name": ({"max_completion_tokens": 5}, {}, False),
    "a limit": ({"max_completion_tokens": 5}, {"max_tokens_field": "max_completion_tokens"}, True),
    "no temperature": ({"temperature": 0.5}, {"send_temperature": False}, False),
    "no user": ({"user": "u"}, {"send_user": False}, False),
    "fields of the provider's": ({}, {"extra_body": {"a": 1}}, False),
    "reasoning in the text": ({}, {"inline_think": "tagged"}, False),
    "no developer": ({"messages": [{"role": "developer", "content": "D"}]}, {"developer_role": False}, False),
    "text in parts": ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, {}, True),
    "no list of parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
        {"text_parts": "join"},
        False,
    ),
    "a schema that is rewritten": (
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object"}}}]},
        {"schema_subset": "moonshot"},
        False,
    ),
    "reasoning that is not sent": (
        {"messages": [{"role": "assistant", "content": "a", "reasoning_content": "r"}]},
        {},
        False,
    ),
    "reasoning": (
        {"messages": [{"role": "assistant", "content": "a", "reasoning_content": "r"}]},
        {"reasoning_key": "reasoning_content"},
        True,
    ),
    "an id that is refused": (
        {"messages": [{**TALK[1], "tool_calls": [{**USED, "id": "a b"}]}]},
        {},
        False,
    ),
    "blank content beside calls": ({"messages": [TALK[0], {**TALK[1], "content": " "}, TALK[2]]}, {}, False),
}


@pytest.mark.parametrize(("fields", "quirks", "relayed"), SENT.values(), ids=SENT)
def test_a_request_is_relayed_unless_something_must_be_changed(
    fields: dict[str, Any], quirks: dict[str, Any], relayed: bool
) -> None:
    body = json.dumps({**PLAIN, **fields}).encode()
    raw = RawRequest(form="chat_completions", body=body)
    codec = RelayCodec.create(
        CHAT_COMPLETIONS, parse(body).request, raw, model="m", stream=False, quirks=Quirks(**quirks)
    )
    assert (codec is not None) is relayed
    if codec is not None:
        sent = {name: value for name, value in {**PLAIN, **fields, "model": "m"}.items() if name != "fallbacks"}
        assert codec.body == json.dumps(sent).encode()
