"""Streams in Anthropic's form over each dialect: parsed from a provider's bytes, encoded, and read by the state machine.

Any split of the provider's bytes gives the same bytes, and any truncation ends in an `error` event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from lakehouse.chat.api.anthropic.format import AnthropicFormat
from lakehouse.chat.api.anthropic.request import parse
from lakehouse.chat.api.anthropic.response import make_message
from lakehouse.chat.api.anthropic.stream import MessageEncoder
from lakehouse.chat.api.anthropic.tokens import estimate_tokens
from lakehouse.chat.api.reasoning_envelope import decode_details
from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.model.answer import Answer, ProviderAnswer
from lakehouse.chat.model.pieces import Done, Piece
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure
from tools.kit.fake_dispatcher import FACTS, FakePieces
from tools.kit.message_stream import check_message, read_stream, split_events
from tools.kit.service_with_providers import chunk, events, line, lines


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one block of the messages dialect."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def call(index: int, id: str, at: str) -> dict[str, Any]:  # noqa: A002 - the name of the field
    return {"index": index, "id": id, "type": "function", "function": {"name": "look", "arguments": f'{{"at":"{at}"}}'}}


def item(index: int, **fields: Any) -> list[dict[str, Any]]:
    """The events of one item of the responses dialect."""
    return [
        {"type": f"response.output_item.{event}", "output_index": index, "item": fields} for event in ("added", "done")
    ]


USAGE = {"input_tokens": 30, "output_tokens": 9}
CHAT_USAGE = {"prompt_tokens": 30, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 20}}
OWN_USAGE = {"input_tokens": 8, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 2, "output_tokens": 1}
REASONING_ITEM = {
    "type": "reasoning",
    "id": "rs_1",
    "encrypted_content": "Enc",
    "summary": [{"type": "summary_text", "text": "Hm…"}],
}
DETAIL = {"type": "reasoning.text", "text": "Hm…", "signature": "S", "format": "anthropic-claude-v1", "index": 0}

STREAMS: dict[str, tuple[Dialect, bytes]] = {
    "messages": (MESSAGES, events(
        {"type": "message_start", "message": {"usage": OWN_USAGE}},
        *block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "Hm"}, {"type": "thinking_delta", "thinking": "…"}, {"type": "signature_delta", "signature": "Sig"}),
        *block(1, {"type": "redacted_thinking", "data": "Red"}),
        *block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "I l"}, {"type": "text_delta", "text": "ök.\u2028"}),
        *block(3, {"type": "tool_use", "id": "tu_1", "name": "look", "input": {}}, {"type": "input_json_delta", "partial_json": '{"at":'}, {"type": "input_json_delta", "partial_json": '"a"}'}),
        *block(4, {"type": "tool_use", "id": "tu_2", "name": "look", "input": {}}, {"type": "input_json_delta", "partial_json": '{"at":"b"}'}),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
        end=b"",
    )),
    "chat_completions": (CHAT_COMPLETIONS, events(
        chunk(role="assistant", reasoning="Hm"), chunk(reasoning="…", reasoning_details=[DETAIL]),
        chunk(content="I l"), chunk(content="ök.\u2028"),
        chunk(tool_calls=[call(0, "tu_1", "a")]), chunk(tool_calls=[call(1, "tu_2", "b")]), chunk("tool_calls"),
        {"choices": [], "usage": CHAT_USAGE},
    )),
    "responses": (RESPONSES, events(
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1"}},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Hm…"},
        {"type": "response.output_item.done", "output_index": 0, "item": REASONING_ITEM},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "I l"},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "ök.\u2028"},
        *item(2, type="function_call", id="fc_1", call_id="tu_1", name="look", arguments='{"at":"a"}'),
        *item(3, type="function_call", id="fc_2", call_id="tu_2", name="look", arguments='{"at":"b"}'),
        {"type": "response.completed", "response": {"status": "completed", "output": [], "usage": {**USAGE, "input_tokens_details": {"cached_tokens": 20}}}},
        end=b"",
    )),
    "ollama": (OLLAMA, lines(
        line(thinking="Hm"), line(thinking="…"), line("I l"), line("ök.\u2028"),
        line(tool_calls=[{"id": f"tu_{n}", "function": {"index": n, "name": "look", "arguments": {"at": at}}} for n, at in ((1, "a"), (2, "b"))]),
        {**line(done=True), "prompt_eval_count": 30, "eval_count": 9},
    )),
}  # fmt: skip
DIALECTS = list(STREAMS)

LONG = "mcp__a_server_with_a_name__" + "a_tool_with_a_name_that_is_very_long" * 2
ASKED = parse(
    json.dumps(
        {
            "model": "team",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "x" * 40}],
            "tools": [{"name": name, "input_schema": {}} for name in ("look", LONG)],
        }
    ).encode()
)
ESTIMATED = estimate_tokens(ASKED.document)


class Pieces(FakePieces):
    """Names the route of a stream that is encoded without a dispatcher."""

    def __init__(self) -> None:
        super().__init__(())


def supplements_of(answer: ProviderAnswer, *names: str) -> dict[str, Any]:
    return {name: getattr(answer.supplements, name) for name in names}


def facts_of(answer: ProviderAnswer) -> dict[str, Any]:
    usage = answer.usage
    counts = {
        name: getattr(usage, name) for name in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    }
    details = usage.input_details or msgspec.UNSET
    return {**FACTS, **counts, "input_details": details, "finish_reason": answer.finish_reason,
            **supplements_of(answer, "stop_sequence"), "reasoning_details": answer.reasoning_details or msgspec.UNSET}  # fmt: skip


def encode(dialect: Dialect, reads: Sequence[bytes]) -> str:
    """What a client is sent for a provider's bytes, read in these pieces. Ids are made equal."""
    encoder = MessageEncoder("r1", ASKED)
    parser = dialect.make_parser(quirks=Quirks(provider="p", reasoning_details=True))
    sent = b""
    try:
        for data in reads:
            if batch := parser.feed(data):
                sent += encoder.encode_events(list[Piece](batch), Pieces())
        last: list[Piece] = list(parser.flush())
        last.append(Done(**facts_of(parser.end())))
        sent += encoder.encode_events(last, Pieces())
    except LakehouseError as error:
        sent += encoder.encode_error(error)
    return re.sub("msg_[0-9a-f]+", "msg_1", sent.decode())


CALLS = [{"type": "tool_use", "id": f"tu_{n}", "name": "look", "input": {"at": at}} for n, at in ((1, "a"), (2, "b"))]


@pytest.mark.parametrize("name", DIALECTS)
def test_thinking_text_and_parallel_calls(name: str) -> None:
    text = encode(STREAMS[name][0], [STREAMS[name][1]])
    message = read_stream(text)
    thinking = [part for part in message["content"] if part["type"].endswith("thinking")]
    assert message["content"][len(thinking) :] == [{"type": "text", "text": "I lök.\u2028"}, *CALLS]
    assert thinking[0]["thinking"] == "Hm…"
    details = decode_details(thinking[0]["signature"])
    signed = {"messages": "Sig", "ollama": ""}
    assert thinking[0]["signature"] == signed.get(name, thinking[0]["signature"])
    assert details == {"chat_completions": [DETAIL], "responses": [REASONING_ITEM]}.get(name)
    assert thinking[1:] == ([{"type": "redacted_thinking", "data": "Red"}] if name == "messages" else [])
    assert (message["stop_reason"], message["model"]) == ("tool_use", "team")
    cached, written = (0 if name == "ollama" else 20), (2 if name == "messages" else 0)
    assert message["usage"] == {
        "input_tokens": 30 - cached - written,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
        "output_tokens": 9,
    }
    start = split_events(text)[0][1]["message"]
    assert start["usage"]["input_tokens"] == ESTIMATED
    assert text.isascii() or "\u2028" not in text.replace("\\u2028", "")


@pytest.mark.parametrize("name", DIALECTS)
def test_a_whole_answer_has_the_blocks_of_its_stream(name: str) -> None:
    dialect, body = STREAMS[name]
    assert make_whole(dialect, body) | {"id": ""} == read_stream(encode(dialect, [body])) | {"id": ""}


def make_whole(dialect: Dialect, body: bytes) -> dict[str, Any]:
    """The whole message that a client is sent for a provider's stream, as `_collect_stream` reads it."""
    parser = dialect.make_parser(quirks=Quirks(provider="p", reasoning_details=True))
    parser.feed(body)
    given = parser.end()
    facts = facts_of(given) | supplements_of(given, "annotations", "images")
    answer = Answer(**facts, content=given.content, reasoning=given.reasoning, tool_calls=given.tool_calls)
    message: dict[str, Any] = msgspec.to_builtins(make_message(answer, ASKED))
    check_message(message)
    return message


@pytest.mark.parametrize("name", DIALECTS)
def test_any_split_gives_the_same_bytes(name: str) -> None:
    dialect, body = STREAMS[name]
    whole = encode(dialect, [body])
    for at in range(1, len(body), 3):
        assert encode(dialect, [body[:at], body[at:]]) == whole
    assert encode(dialect, [body[at : at + 1] for at in range(len(body))]) == whole


@pytest.mark.parametrize("name", DIALECTS)
def test_any_truncation_is_a_failed_stream(name: str) -> None:
    dialect, body = STREAMS[name]
    end = {"messages": b'event: message_stop', "chat_completions": b'data: {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"',
           "responses": b'event: response.completed', "ollama": b'{"model": "m", "message": {"role": "assistant", "content": ""}, "done": true'}  # fmt: skip
    complete = body.index(end[name]) + len(end[name])
    for at in range(0, complete, 5):
        ended = encode(dialect, [body[:at]])
        if '"type":"message_start"' not in ended:
            assert ended.startswith("event: error\n")  # a plain response: no piece has come
            continue
        failure = read_stream(ended)
        assert failure["type"] == "error"
        assert failure["error"]["type"] == "api_error"
        assert failure["request_id"] == "r1"


REASONS = [
    ("stop", "end_turn"),
    ("length", "max_tokens"),
    ("content_filter", "refusal"),
    ("tool_calls", "tool_use"),
]


@pytest.mark.parametrize(("reason", "stop_reason"), REASONS)
def test_reasons_to_stop(reason: str, stop_reason: str) -> None:
    calls = [chunk(tool_calls=[call(0, "functions.look:0", "a")])] if reason == "tool_calls" else []
    message = read_stream(encode(CHAT_COMPLETIONS, [events(chunk(content="Hi"), *calls, chunk(reason))]))
    assert message["stop_reason"] == stop_reason
    assert message["content"][0] == {"type": "text", "text": "Hi"}
    assert [part["id"] for part in message["content"][1:]] == (["functions_look_0"] if calls else [])


def test_without_counts_they_are_estimated() -> None:
    usage = read_stream(encode(CHAT_COMPLETIONS, [events(chunk(content="x" * 70), chunk("stop"))]))["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (ESTIMATED, 20)


def test_a_block_of_thinking_is_open_until_an_answer_begins() -> None:
    dialect, body = STREAMS["messages"]
    cut = encode(dialect, [body[: body.index(b'"type": "content_block_start", "index": 1')]])
    names = [name for name, _ in split_events(cut)]
    assert names[-2:] == ["content_block_delta", "error"]
    assert "content_block_stop" not in names


FAILURES = [
    ("overloaded", 529, "overloaded_error", None),
    ("rate_limit", 429, "rate_limit_error", None),
    ("quota", 429, "rate_limit_error", "false"),
    ("auth", 502, "api_error", "false"),
    ("billing", 502, "api_error", "false"),
    ("model_not_found", 404, "not_found_error", "false"),
    ("context_overflow", 400, "invalid_request_error", "false"),
    ("content_policy", 400, "invalid_request_error", "false"),
    ("timeout", 504, "timeout_error", "false"),
    ("server_error", 502, "api_error", None),
    ("incomplete_stream", 502, "api_error", "false"),
]


@pytest.mark.parametrize(("error_class", "status", "kind", "retry"), FAILURES)
def test_failures_have_types_and_statuses_of_the_form(
    error_class: Any, status: int, kind: str, retry: str | None
) -> None:
    error = make_failure(error_class, "the words of the provider")
    response = AnthropicFormat().render_error(error, "r1")
    headers = dict(response.headers)
    document = msgspec.json.decode(response.body)
    assert (response.status, document["type"], document["error"]["type"]) == (status, "error", kind)
    assert (document["request_id"], headers[b"request-id"]) == ("r1", b"r1")
    assert headers.get(b"x-should-retry", b"").decode() == (retry or "")
    begin = "prompt is too long: " if error_class == "context_overflow" else ""
    assert document["error"]["message"] == f"{begin}the words of the provider"
    assert read_stream(MessageEncoder("r1", ASKED).encode_error(error).decode()) == document


def test_a_tool_with_a_long_name_is_called_by_it() -> None:
    assert ASKED.tools is not None
    short = ASKED.tools[1]["function"]["name"]
    assert len(short) == 64
    made = call(0, "tu_1", "a")
    made["function"]["name"] = short
    body = events(chunk(tool_calls=[made]), chunk("tool_calls"))
    assert read_stream(encode(CHAT_COMPLETIONS, [body]))["content"][0]["name"] == LONG
    block = {"type": "tool_use", "id": "tu_1", "name": LONG, "input": {}}
    history = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [block]}]
    choice = {"type": "tool", "name": LONG}
    sent = parse(json.dumps({**ASKED.document, "messages": history, "tool_choice": choice}).encode())
    assert sent.messages[1].tool_calls[0].function.name == short
    assert sent.tool_choice == {"type": "function", "function": {"name": short}}
    assert sent.document["messages"] == history


def said(reason: str) -> list[dict[str, Any]]:
    """A message of the messages dialect that ends for this reason."""
    return [
        {"type": "message_start", "message": {"usage": OWN_USAGE}},
        *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"}),
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]


def ended(status: str, reason: str = "") -> list[dict[str, Any]]:
    """A response that ends with this status."""
    response = {"status": status, "incomplete_details": {"reason": reason}, "output": [], "usage": USAGE}
    return [{"type": "response.output_text.delta", "delta": "Hi"}, {"type": f"response.{status}", "response": response}]


ENDS = [
    (MESSAGES, events(*said("end_turn"), end=b""), "end_turn"),
    (MESSAGES, events(*said("max_tokens"), end=b""), "max_tokens"),
    (MESSAGES, events(*said("refusal"), end=b""), "refusal"),
    (MESSAGES, events(*said("model_context_window_exceeded"), end=b""), "max_tokens"),
    (RESPONSES, events(*ended("completed"), end=b""), "end_turn"),
    (RESPONSES, events(*ended("incomplete", "max_output_tokens"), end=b""), "max_tokens"),
    (RESPONSES, events(*ended("incomplete", "content_filter"), end=b""), "refusal"),
    (OLLAMA, lines(line("Hi"), line(done=True)), "end_turn"),
    (OLLAMA, lines(line("Hi"), {**line(done=True), "done_reason": "length"}), "max_tokens"),
]


@pytest.mark.parametrize(("dialect", "body", "stop_reason"), ENDS)
def test_reasons_to_stop_of_other_dialects(dialect: Dialect, body: bytes, stop_reason: str) -> None:
    message = read_stream(encode(dialect, [body]))
    assert (message["stop_reason"], message["content"]) == (stop_reason, [{"type": "text", "text": "Hi"}])


STOPPED = events(
    *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"}),
    {"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "###"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
    end=b"",
)  # fmt: skip


def test_the_text_that_ended_an_answer_is_named() -> None:
    for message in (read_stream(encode(MESSAGES, [STOPPED])), make_whole(MESSAGES, STOPPED)):
        assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "###")


URL = {"url": "https://x/", "title": "X", "start_index": 0, "end_index": 2}
OWN = [
    {"type": "web_search_result_location", "url": "https://x/", "title": "X", "cited_text": "so", "encrypted_index": "Enc"},
    {"type": "search_result_location", "source": "s", "title": "X", "cited_text": "so", "search_result_index": 0,
     "start_block_index": 0, "end_block_index": 1},
    {"type": "char_location", "document_index": 0, "document_title": "X", "cited_text": "so", "start_char_index": 0,
     "end_char_index": 2},
]  # fmt: skip
FOREIGN = {
    "type": "web_search_result_location",
    "url": "https://x/",
    "title": "X",
    "cited_text": "",
    "encrypted_index": "",
}
CITED = [
    (MESSAGES, events(
        *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"},
               *({"type": "citations_delta", "citation": citation} for citation in OWN)),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}, end=b"",
    ), OWN),
    (CHAT_COMPLETIONS, events(
        chunk(content="Hi"), chunk(annotations=[{"type": "url_citation", "url_citation": URL}]), chunk("stop"),
    ), [FOREIGN]),
    (RESPONSES, events(
        {"type": "response.output_text.delta", "delta": "Hi"},
        {"type": "response.output_text.annotation.added", "annotation": {"type": "url_citation", **URL}},
        {"type": "response.output_text.annotation.added", "annotation": {"type": "file_citation", "file_id": "f"}},
        {"type": "response.completed", "response": {"status": "completed", "output": [], "usage": USAGE}}, end=b"",
    ), [FOREIGN]),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "body", "citations"), CITED, ids=["messages", "chat_completions", "responses"])
def test_citations_are_those_of_a_text(dialect: Dialect, body: bytes, citations: list[dict[str, Any]]) -> None:
    for message in (read_stream(encode(dialect, [body])), make_whole(dialect, body)):
        assert message["content"] == [{"type": "text", "text": "Hi", "citations": citations}]


def test_citations_of_other_providers_are_not_sent_back_to_one_that_signs_its_own() -> None:
    text = {"type": "text", "text": "Hi"}
    said = [{**text, "citations": [FOREIGN]}, {**text, "citations": OWN}]
    history = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "y"},
    ]
    request = parse(json.dumps({**ASKED.document, "messages": history}).encode())
    sent = json.loads(CallCodec(MESSAGES, request, model="m", stream=False, quirks=Quirks()).body)
    assert sent["messages"] == [history[0], {"role": "assistant", "content": [text, said[1]]}, history[2]]


def test_images_are_told_of_in_the_text() -> None:
    images = [
        {"type": "image_url", "image_url": {"url": url}}
        for url in ("https://x/y.png", "data:image/png;base64,iVBORw==")
    ]
    body = events(chunk(content="Hi"), chunk(images=images), chunk("stop"))
    for message in (read_stream(encode(CHAT_COMPLETIONS, [body])), make_whole(CHAT_COMPLETIONS, body)):
        (said,) = message["content"]
        assert said["text"].startswith("Hi\n\n![image](https://x/y.png)\n\n[an image (image/png) was left out")
    only = events(chunk(images=images[:1]), chunk("stop"))
    assert read_stream(encode(CHAT_COMPLETIONS, [only]))["content"][0]["text"] == "![image](https://x/y.png)"
