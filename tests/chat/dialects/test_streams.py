"""When a stream is whole and when it is not, and that nothing of this depends on how its bytes were cut."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dialects.base import Dialect, StreamParser
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.decode import ResponseReader
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import ContentPiece, Delta, DetailedContentPiece, ReasoningPiece, ToolCallPiece
from lakehouse.chat.model.tool_calls import ToolCall
from lakehouse.core.errors import LakehouseError
from tools.kit import wire_files


def sse(*events: object, names: bool = False) -> bytes:
    """Server-sent events; a string stands for itself."""
    lines = []
    for event in events:
        if isinstance(event, dict) and names:
            lines.append(f"event: {event['type']}\n")
        data = event if isinstance(event, str) else json.dumps(event)
        lines.append(f"{data}\n\n" if data.startswith(":") else f"data: {data}\n\n")
    return "".join(lines).encode()


def chunk(content: object = None, *, finish: str | None = None, **rest: Any) -> dict[str, Any]:
    """A chunk of a completion; `usage` and `error` stand beside the choice, what else is given in its delta."""
    beside: dict[str, Any] = {name: rest.pop(name) for name in ("usage", "error", "cost") if name in rest}
    delta = rest if content is None else {"content": content, **rest}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **beside}


USAGE = {"prompt_tokens": 3, "completion_tokens": 4}
DONE = "[DONE]"


def read(body: bytes, dialect: Dialect | None = None, **quirks: Any) -> tuple[list[Delta], ProviderAnswer]:
    parser = (dialect or CHAT_COMPLETIONS).make_parser(quirks=Quirks(provider="p", **quirks))
    deltas = [*parser.feed(body), *parser.flush()]
    return deltas, parser.end()


def failure_of(body: bytes, dialect: Dialect | None = None, **quirks: Any) -> LakehouseError:
    with pytest.raises(LakehouseError) as caught:
        read(body, dialect, **quirks)
    return caught.value


# The ends of chat completions


@pytest.mark.parametrize(
    "body",
    [
        sse(chunk("Hi"), chunk(finish="stop"), DONE),
        sse(chunk("Hi"), chunk(finish="stop")),
        sse(chunk("Hi", finish="stop")),
        sse(chunk("Hi"), chunk(finish="stop"))[:-2],
        sse(chunk("Hi"), chunk(finish="stop"), DONE, {"choices": [], "cost": "0.5"}),
        sse(chunk("Hi"), chunk(finish="stop"), DONE, "{broken", {"error": {"message": "too late"}}, chunk("more")),
        sse(chunk("Hi"), chunk(finish="stop"), "{broken"),
        sse(": hello", "ping", chunk("Hi"), ": keep-alive", "", chunk(finish="stop"), DONE),
        sse(chunk("Hi"), {"choices": []}, {"choices": None}, {"id": "x"}, {"choices": [{"delta": None}]}, chunk(finish="stop")),
        sse(chunk("Hi"), chunk("", finish="stop"), chunk("", finish="stop", usage=USAGE), DONE),
        sse(chunk([{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]), chunk(finish="stop")),
        sse(chunk("Hi"), chunk(finish="stop")).replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + sse(chunk("Hi"), chunk(finish="stop")),
        sse({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}),
        b'event: x\nid: 7\nretry: 9\ndata: {"choices":\ndata: [{"delta":{"content":"Hi"},"finish_reason":"stop"}]}',
    ],
)  # fmt: skip
def test_a_complete_stream(body: bytes) -> None:
    deltas, reply = read(body)
    assert deltas == [ContentPiece("Hi")]
    assert (reply.content, reply.finish_reason) == ("Hi", "stop")


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        (b"", "incomplete_stream"),
        (sse(": hello"), "incomplete_stream"),
        (sse(chunk("Hi")), "incomplete_stream"),
        (sse(chunk("Hi"), DONE), "incomplete_stream"),
        (sse(chunk("Hi"), {"choices": [], "usage": USAGE}), "incomplete_stream"),
        (sse(chunk("Hi"), '{"choices": [', chunk(finish="stop")), "incomplete_stream"),
        (sse(chunk("Hi"), chunk(finish="stop"))[:-4], "incomplete_stream"),
        (sse(chunk("Hi"), chunk(finish="error")), "upstream_error"),
        (sse(chunk("Hi"), chunk(finish="network_error")), "upstream_error"),
        (sse(chunk("Hi"), chunk("", finish="error", error={"code": 429, "message": "slow"})), "rate_limit"),
        (
            sse(chunk("Hi"), {"choices": [{"error": {"code": 503, "message": "x"}, "finish_reason": "error"}]}),
            "overloaded",
        ),
        (sse({"error": {"code": "server_error", "message": "x"}}), "server_error"),
        (sse({"error": "x"}), "upstream_error"),
        (sse(chunk("Hi"), {"object": "error", "message": "slow", "code": 429}), "rate_limit"),
        (b'event: error\ndata: {"error":{"type":"overloaded_error","message":"x"}}\n\n', "overloaded"),
        (sse(chunk("", finish="stop"), DONE), "empty_response"),
        (sse({"choices": []}, DONE), "empty_response"),
        (sse(chunk("", finish="length"), DONE), "empty_response"),
        (sse(chunk("", finish="content_filter"), DONE), "content_policy"),
    ],
)
def test_an_incomplete_stream(body: bytes, error_class: str) -> None:
    error = failure_of(body)
    assert error.error_class == error_class
    assert error.provider == "p"


USAGE_ENDS = [
    (sse(chunk("Hi"), {"choices": [], "usage": USAGE}), "stop"),
    (sse(chunk("Hi"), {"choices": [], "usage": USAGE}, {"choices": [], "cost": "0.1"}), "stop"),
    (sse(chunk("Hi"), DONE, {"choices": [], "usage": USAGE}), "stop"),
    (sse(chunk("Hi"), chunk("", usage=USAGE)), "stop"),
    (sse(chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]), {"choices": [], "usage": USAGE}), "tool_calls"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "finish"), USAGE_ENDS)
def test_usage_ends_a_stream_of_a_provider_with_that_quirk(body: bytes, finish: str) -> None:
    _, reply = read(body, usage_ends_stream=True)
    assert (reply.finish_reason, reply.usage.output_tokens) == (finish, 4)
    assert failure_of(body).error_class == "incomplete_stream"


@pytest.mark.parametrize(
    "body",
    [
        sse(chunk("Hi"), DONE),
        sse(chunk("Hi"), {"choices": [], "cost": "0.1"}),
        sse(chunk("Hi", usage=USAGE)),  # counted on the way, as some servers do with every chunk
        sse(chunk("H", usage=USAGE), chunk("i", usage=USAGE)),
        sse({"choices": [], "usage": USAGE}, chunk("Hi")),
        sse(
            chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"a":'}}]),
            {"choices": [], "usage": USAGE},
        ),
    ],
)
def test_usage_before_content_does_not_end_a_stream(body: bytes) -> None:
    assert failure_of(body, usage_ends_stream=True).error_class == "incomplete_stream"


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("tool_calls", "stop"),
        ("function_call", "stop"), ("max_tokens", "length"), ("sensitive", "content_filter"), ("eos", "stop"), ("STOP", "stop"),
    ],
)  # fmt: skip
def test_finish_reasons(finish: str, expected: str) -> None:
    assert read(sse(chunk("Hi", finish=finish)))[1].finish_reason == expected


def test_reasoning_alone_is_an_answer() -> None:
    _, reply = read(sse(chunk(reasoning="Let me"), chunk("", finish="length")))
    assert (reply.content, reply.reasoning, reply.finish_reason) == ("", "Let me", "length")


def test_a_refusal_is_marked_as_one() -> None:
    deltas, reply = read(sse(chunk(refusal="I will"), chunk(refusal=" not."), chunk(finish="stop")))
    assert deltas == [DetailedContentPiece(text, refusal=True) for text in ("I will", " not.")]
    assert (reply.content, reply.finish_reason) == ("I will not.", "content_filter")
    assert reply.supplements.refusal == "I will not."


def test_one_delta_may_have_reasoning_and_text() -> None:
    deltas, _ = read(sse(chunk("b", reasoning_content="a", reasoning="ignored"), chunk(finish="stop")))
    assert deltas == [ReasoningPiece("a"), ContentPiece("b")]


def test_usage_is_not_summed() -> None:
    choice_usage = {"choices": [{"delta": {}, "finish_reason": "stop", "usage": {**USAGE, "cached_tokens": 2}}]}
    body = sse(
        chunk("Hi", usage=None),
        choice_usage,
        {"choices": [], "usage": USAGE},
        DONE,
        {"choices": [], "cost": "0.25"},
        {"cost": "0"},
    )
    usage = read(body)[1].usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd) == (3, 4, 2, 0.25)
    assert usage.reasoning_tokens is None  # nobody said zero


def test_an_error_after_text_comes_with_the_next_call() -> None:
    body = sse(chunk("Hi"), {"error": {"message": "x", "code": 503}}, chunk("lost"))
    parser = CHAT_COMPLETIONS.make_parser(quirks=Quirks())
    assert parser.feed(body) == [ContentPiece("Hi")]
    assert parser.has_pending_error
    for call in (parser.flush, parser.end, lambda: parser.feed(b"")):
        with pytest.raises(LakehouseError, match="x"):
            call()


def test_finished_differs_from_complete() -> None:
    parser = CHAT_COMPLETIONS.make_parser(quirks=Quirks())
    parser.feed(sse(chunk("Hi")))
    assert (parser.complete, parser.finished) == (False, False)
    parser.feed(sse(chunk(finish="stop")))
    assert (parser.complete, parser.finished) == (True, False)
    parser.feed(sse(DONE))
    assert (parser.complete, parser.finished) == (True, True)


def test_invalid_characters_do_not_cut_an_answer() -> None:
    body = (
        sse(r'{"choices":[{"delta":{"content":"a\ud83d\ude00\ud83d b"}}]}')
        + b'data: {"choices":[{"delta":{"content":"\xff"},"finish_reason":"stop"}]}\n\n'
    )
    assert read(body)[1].content == "a😀\ufffd b\ufffd"


# Ollama


def line(content: str = "", **rest: Any) -> bytes:
    return (
        json.dumps({"message": {"content": content, **rest.pop("message", {})}, "done": False, **rest}).encode() + b"\n"
    )


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        (line("Hi"), "incomplete_stream"),
        (line("Hi") + line(done=True), "incomplete_stream"),  # the runner's connection ended, not the answer
        (line("Hi") + b'{"error":"model runner has unexpectedly stopped"}\n', "server_error"),
        (line("Hi") + b'{"message":{"cont\n' + line(done=True, done_reason="stop"), "incomplete_stream"),
        (line(done=True, done_reason="stop"), "empty_response"),
        (b"<html>hello</html>\n", "incomplete_stream"),
    ],
)
def test_an_incomplete_stream_of_ollama(body: bytes, error_class: str) -> None:
    assert failure_of(body, OLLAMA).error_class == error_class


@pytest.mark.parametrize(
    "body",
    [
        line("Hi") + line(done=True, done_reason="stop"),
        line("Hi") + line(done=True, eval_count=3),
        line("Hi", done=True, done_reason="stop").rstrip(),
        line("Hi") + b"\r\n\n" + line(done=True, done_reason="stop") + b"{trailing\n",
    ],
)
def test_a_complete_stream_of_ollama(body: bytes) -> None:
    assert read(body, OLLAMA)[1].content == "Hi"


def test_calls_on_the_last_line_of_ollama() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    deltas, reply = read(line(message={"tool_calls": [call, call]}, done=True, done_reason="stop"), OLLAMA)
    assert [delta.tool_call for delta in deltas if isinstance(delta, ToolCallPiece)] == list(reply.tool_calls)
    assert len({call.id for call in reply.tool_calls}) == 2
    assert reply.finish_reason == "tool_calls"


# The messages form


def messages(*events: dict[str, Any]) -> bytes:
    return sse(*events, names=True)


START = {
    "type": "message_start",
    "message": {"usage": {"input_tokens": 9, "cache_read_input_tokens": 5, "output_tokens": 1}},
}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
HI = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
STOP = {"type": "message_stop"}


def test_messages_end_with_message_stop() -> None:
    _, reply = read(messages(START, TEXT, HI, {"type": "ping"}, END, STOP), MESSAGES)
    assert (reply.content, reply.finish_reason) == ("Hi", "stop")
    usage = reply.usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (14, 5, 7)
    for body in (messages(START, TEXT, HI), messages(START, TEXT, HI, END), messages(START, TEXT, HI) + sse(DONE)):
        assert failure_of(body, MESSAGES).error_class == "incomplete_stream"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("max_tokens", "length"), ("refusal", "content_filter"), ("stop_sequence", "stop"), ("model_context_window_exceeded", "length"), (None, "stop")],
)  # fmt: skip
def test_stop_reasons(reason: str | None, expected: str) -> None:
    end = {"type": "message_delta", "delta": {"stop_reason": reason}}
    assert read(messages(TEXT, HI, end, STOP), MESSAGES)[1].finish_reason == expected


def test_an_error_event_of_messages() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert failure_of(messages(START, TEXT, HI, error), MESSAGES).error_class == "overloaded"


def test_thinking_blocks_are_kept_with_their_signatures() -> None:
    body = messages(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "a "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "b"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "S"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "X"}},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}},
        STOP,
    )  # fmt: skip
    _, reply = read(body, MESSAGES)
    assert reply.reasoning == "a b"
    assert [{**entry, "index": None} for entry in reply.reasoning_details] == [
        {"type": "thinking", "thinking": "a b", "signature": "S", "index": None},
        {"type": "redacted_thinking", "data": "X", "index": None},
    ]
    assert [(call.id, call.function.arguments) for call in reply.tool_calls] == [("t", "{}")]


# The responses form


REASONING_ITEM = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Think."}],
    "encrypted_content": "E",
}
RESPONSE: dict[str, Any] = {
    "object": "response",
    "status": "completed",
    "error": None,
    "output": [
        REASONING_ITEM,
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a":1}', "status": "completed"},
    ],
    "usage": {
        "input_tokens": 10, "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 12}, "total_tokens": 30,
    },
    "cost": "0.00100000",
}  # fmt: skip
RESPONSE_EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"status": "in_progress", "output": [], "error": None}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "half"}},
    {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0, "part": {"type": "summary_text", "text": ""}},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "Think."},
    {"type": "response.reasoning_summary_text.done", "output_index": 0, "summary_index": 0, "text": "Think."},
    {"type": "response.output_item.done", "output_index": 0, "item": REASONING_ITEM},
    {"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "role": "assistant", "content": []}},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "H"},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "i", "logprobs": []},
    {"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": "Hi"},
    {"type": "response.output_item.done", "output_index": 1, "item": RESPONSE["output"][1]},
    {"type": "response.output_item.added", "output_index": 2, "item": {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a"'},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"},
    {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": '{"a":1}'},
    {"type": "response.output_item.done", "output_index": 2, "item": RESPONSE["output"][2]},
]  # fmt: skip
COMPLETED = {"type": "response.completed", "response": RESPONSE}


def without(*kinds: str) -> list[dict[str, Any]]:
    return [event for event in RESPONSE_EVENTS if not event["type"].endswith(kinds)]


@pytest.mark.parametrize(
    "events",
    [
        RESPONSE_EVENTS,
        without("function_call_arguments.delta", "function_call_arguments.done"),
        without("delta", "done", "added"),  # everything comes with the end
    ],
)
def test_a_response_decodes_the_same_whole_and_streamed(events: list[dict[str, Any]]) -> None:
    whole = RESPONSES.decode(json.dumps(RESPONSE).encode(), quirks=Quirks())
    deltas, reply = read(sse(*events, COMPLETED, names=True), RESPONSES)
    assert reply == whole
    assert (reply.content, reply.reasoning, reply.finish_reason) == ("Hi", "Think.", "tool_calls")
    assert reply.reasoning_details == (REASONING_ITEM,)
    assert [(call.id, call.function.name, call.function.arguments) for call in reply.tool_calls] == [
        ("call_1", "f", '{"a":1}')
    ]
    usage = reply.usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens, usage.cost_usd) == (
        10,
        4,
        20,
        12,
        0.001,
    )
    assert "".join(delta.text for delta in deltas if isinstance(delta, ContentPiece)) == "Hi"


@pytest.mark.parametrize(
    ("status", "details", "expected"),
    [
        ("incomplete", {"reason": "max_output_tokens"}, "length"),
        ("incomplete", {"reason": "content_filter"}, "content_filter"),
        ("incomplete", None, "length"),
        ("completed", None, "stop"),
    ],
)
def test_the_status_of_a_response(status: str, details: object, expected: str) -> None:
    response = {**RESPONSE, "output": RESPONSE["output"][1:2], "status": status, "incomplete_details": details}
    assert RESPONSES.decode(json.dumps(response).encode(), quirks=Quirks()).finish_reason == expected
    events = sse(RESPONSE_EVENTS[7], {"type": f"response.{status}", "response": response}, names=True)
    assert read(events, RESPONSES)[1].finish_reason == expected


@pytest.mark.parametrize(
    ("events", "error_class"),
    [
        (RESPONSE_EVENTS, "incomplete_stream"),
        ([*RESPONSE_EVENTS, {"type": "response.failed", "response": {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow"}}}], "rate_limit"),
        ([{"type": "response.failed", "response": {"status": "failed"}}], "upstream_error"),
        ([{"type": "response.cancelled", "response": {"status": "cancelled"}}], "upstream_error"),
        ([{"type": "error", "code": "server_error", "message": "x", "param": None}], "server_error"),
        ([{"type": "response.completed", "response": {"status": "completed", "output": []}}], "empty_response"),
    ],
)  # fmt: skip
def test_an_incomplete_response(events: list[dict[str, Any]], error_class: str) -> None:
    assert failure_of(sse(*events, names=True), RESPONSES).error_class == error_class


def test_a_refusal_and_several_summaries_of_a_response() -> None:
    events = [
        {"type": "response.reasoning_summary_text.delta", "summary_index": 0, "delta": "One."},
        {"type": "response.reasoning_summary_part.added", "summary_index": 1},
        {"type": "response.reasoning_summary_text.delta", "summary_index": 1, "delta": "Two."},
        {"type": "response.reasoning_text.delta", "content_index": 0, "delta": "the same at length"},
        {"type": "response.refusal.delta", "delta": "No."},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
    ]
    _, reply = read(sse(*events, names=True), RESPONSES)
    assert (reply.reasoning, reply.content, reply.finish_reason) == ("One.\n\nTwo.", "No.", "content_filter")


# Properties: of all streams above and of those in the files


def corpus() -> list[tuple[str, Dialect, bytes, Quirks]]:
    found = [
        (entry["file"], wire_files.dialect_of(entry), wire_files.body_of(entry), wire_files.quirks_of(entry))
        for entry in wire_files.streams()
    ]
    found.append(("responses", RESPONSES, sse(*RESPONSE_EVENTS, COMPLETED, names=True), Quirks()))
    found += [
        (f"ended by usage {n}", CHAT_COMPLETIONS, body, Quirks(usage_ends_stream=True))
        for n, (body, _) in enumerate(USAGE_ENDS)
    ]
    leak = sse(chunk("<th"), chunk("ink>a</"), chunk("think>"), chunk("\nb"), chunk("", finish="stop"), DONE)
    found += [("think", CHAT_COMPLETIONS, leak, Quirks(inline_think=how)) for how in ("tagged", "unopened")]
    return found


CORPUS = corpus()


def outcome(parser: StreamParser, pieces: list[bytes]) -> tuple[list[Delta], ProviderAnswer | str | None]:
    """The deltas, and the reply or the class of the failure."""
    deltas: list[Delta] = []
    try:
        for piece in pieces:
            deltas += parser.feed(piece)
        deltas += parser.flush()
        return deltas, parser.end()
    except LakehouseError as error:
        return deltas, error.error_class


@settings(max_examples=150, deadline=None)
@given(case=st.sampled_from(CORPUS), cuts=st.lists(st.integers(0, 6000), max_size=30))
def test_any_split_gives_the_same_deltas(case: tuple[str, Dialect, bytes, Quirks], cuts: list[int]) -> None:
    _, dialect, body, quirks = case
    edges = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    pieces = [body[start:end] for start, end in pairwise(edges)]
    assert outcome(dialect.make_parser(quirks=quirks), pieces) == outcome(dialect.make_parser(quirks=quirks), [body])


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case[0])
def test_a_truncated_stream_is_incomplete(
    case: tuple[str, Dialect, bytes, Quirks],
) -> None:
    """At every byte: a cut answer is an error, or it says all that the whole one says.

    "All" is text, reasoning, calls and finish reason; the usage may be among what was cut off.
    """
    _, dialect, body, quirks = case
    pieces, whole = outcome(dialect.make_parser(quirks=quirks), [body])
    for end in range(len(body)):
        parser = dialect.make_parser(quirks=quirks)
        deltas, cut = outcome(parser, [body[:end]])
        if isinstance(cut, ProviderAnswer):
            assert isinstance(whole, ProviderAnswer)
            assert parser.complete
            assert said(cut) == said(whole)
        else:
            assert cut is not None
            assert deltas == pieces[: len(deltas)]


def said(reply: ProviderAnswer) -> tuple[object, ...]:
    return reply.content, reply.reasoning, reply.tool_calls, reply.finish_reason


@settings(max_examples=200, deadline=None)
@given(case=st.sampled_from(CORPUS), noise=st.lists(st.binary(max_size=40), max_size=6), at=st.integers(0, 4000))
def test_arbitrary_bytes_raise_only_lakehouse_errors(
    case: tuple[str, Dialect, bytes, Quirks], noise: list[bytes], at: int
) -> None:
    _, dialect, body, quirks = case
    outcome(dialect.make_parser(quirks=quirks), [body[:at], *noise, body[at:]])


FIELDS = st.sampled_from(
    [
        "choices",
        "delta",
        "message",
        "content",
        "finish_reason",
        "error",
        "usage",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "index",
        "type",
        "reasoning",
        "reasoning_details",
        "thinking",
        "response",
        "item",
        "output",
        "summary",
        "done",
        "done_reason",
        "code",
        "metadata",
        "cost",
        "input",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
TYPES = st.sampled_from(
    [
        "content_block_start",
        "content_block_delta",
        "message_start",
        "message_delta",
        "response.completed",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "text_delta",
        "input_json_delta",
        "tool_use",
        "thinking",
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    dialect=st.sampled_from([CHAT_COMPLETIONS, OLLAMA, MESSAGES, RESPONSES]),
    documents=st.lists(st.dictionaries(FIELDS, st.one_of(JSON, TYPES), max_size=6), max_size=5),
)
def test_arbitrary_shapes_raise_only_lakehouse_errors(dialect: Dialect, documents: list[dict[str, Any]]) -> None:
    for document in documents:
        with suppress(LakehouseError):
            dialect.decode(json.dumps(document).encode(), quirks=Quirks())
    framed = (
        sse(*documents) if dialect.framing == "sse" else b"".join(json.dumps(d).encode() + b"\n" for d in documents)
    )
    outcome(dialect.make_parser(quirks=Quirks(usage_ends_stream=True, inline_think="unopened")), [framed])


@pytest.mark.parametrize("index", [{}, [], [[]], {"a": 1}, None])
def test_an_invalid_index_counts_as_missing(index: object) -> None:
    reader = ResponseReader(Quirks(provider="p"))
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    for event in (
        {"type": "response.output_item.added", "output_index": index, "item": item},
        {"type": "response.function_call_arguments.delta", "output_index": index, "delta": "{}"},
    ):
        assert reader.read_event(event, b"") == []
    reader.answer.set_finish_reason("stop")
    (piece,) = reader.answer.flush()
    assert isinstance(piece, ToolCallPiece)
    assert isinstance(piece.tool_call, ToolCall)
    assert piece.tool_call.function.arguments == "{}"
