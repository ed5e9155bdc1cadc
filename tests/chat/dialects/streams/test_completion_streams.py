"""Complete and incomplete streams of chat completions."""

from __future__ import annotations

import pytest

from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.pieces import ContentPiece, DetailedContentPiece, ReasoningPiece
from lakehouse.core.errors import LakehouseError
from tests.chat.dialects.streams.stream_kit import DONE, USAGE, USAGE_ENDS, chunk, parse_error, parse_stream, sse


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
    deltas, reply = parse_stream(body)
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
    error = parse_error(body)
    assert error.error_class == error_class
    assert error.provider == "p"


@pytest.mark.parametrize(("body", "finish"), USAGE_ENDS)
def test_usage_ends_a_stream_of_a_provider_with_that_quirk(body: bytes, finish: str) -> None:
    _, reply = parse_stream(body, usage_ends_stream=True)
    assert (reply.finish_reason, reply.usage.output_tokens) == (finish, 4)
    assert parse_error(body).error_class == "incomplete_stream"


@pytest.mark.parametrize(
    "body",
    [
        sse(chunk("Hi"), DONE),
        sse(chunk("Hi"), {"choices": [], "cost": "0.1"}),
        sse(chunk("Hi", usage=USAGE)),  # usage with content, which some servers send with every chunk
        sse(chunk("H", usage=USAGE), chunk("i", usage=USAGE)),
        sse({"choices": [], "usage": USAGE}, chunk("Hi")),
        sse(
            chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"a":'}}]),
            {"choices": [], "usage": USAGE},
        ),
    ],
)
def test_usage_before_content_does_not_end_a_stream(body: bytes) -> None:
    assert parse_error(body, usage_ends_stream=True).error_class == "incomplete_stream"


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("tool_calls", "stop"),
        ("function_call", "stop"), ("max_tokens", "length"), ("sensitive", "content_filter"), ("eos", "stop"), ("STOP", "stop"),
    ],
)  # fmt: skip
def test_finish_reasons(finish: str, expected: str) -> None:
    assert parse_stream(sse(chunk("Hi", finish=finish)))[1].finish_reason == expected


def test_reasoning_alone_is_an_answer() -> None:
    _, reply = parse_stream(sse(chunk(reasoning="Let me"), chunk("", finish="length")))
    assert (reply.content, reply.reasoning, reply.finish_reason) == ("", "Let me", "length")


def test_a_refusal_is_marked_as_one() -> None:
    deltas, reply = parse_stream(sse(chunk(refusal="I will"), chunk(refusal=" not."), chunk(finish="stop")))
    assert deltas == [DetailedContentPiece(text, refusal=True) for text in ("I will", " not.")]
    assert (reply.content, reply.finish_reason) == ("I will not.", "content_filter")
    assert reply.supplements.refusal == "I will not."


def test_one_delta_may_have_reasoning_and_text() -> None:
    deltas, _ = parse_stream(sse(chunk("b", reasoning_content="a", reasoning="ignored"), chunk(finish="stop")))
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
    usage = parse_stream(body)[1].usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd) == (3, 4, 2, 0.25)
    assert usage.reasoning_tokens is None  # absent, not zero


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
    assert parse_stream(body)[1].content == "a😀\ufffd b\ufffd"
