"""The fast path of chunks gives the same deltas as the full reader, or leaves a chunk to it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dialects.chat_completions.chunk_fast_path import MAX_TEMPLATES, ChunkFastPath
from lakehouse.chat.dialects.chat_completions.decode import CompletionReader
from lakehouse.chat.dialects.decoding.event_parser import EventParser
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.dialects.quirks import Quirks
from tests.chat.dialects.streams.stream_kit import chunk, run_parser, sse
from tools.kit.examples import count_examples

USUAL = b'{"id":"1","model":"m","choices":[{"index":0,"delta":{"content":%b},"finish_reason":null}]}'


def events(*texts: bytes) -> bytes:
    """Events of the usual shape; the texts are JSON strings."""
    return b"".join(b"data: " + USUAL % text + b"\n\n" for text in texts)


def learn_template(document: bytes = USUAL % b'"Hello"') -> ChunkFastPath:
    """Return a fast path that has decoded one chunk."""
    fast_path = ChunkFastPath()
    fast_path.decode_text(document)
    return fast_path


def test_a_template_matches_any_number_of_events() -> None:
    fast_path = learn_template()
    assert fast_path.match_events(events(b'" there"')) == [" there"]
    assert fast_path.match_events(events(b'"a"', b'""', b'"\\"},\\u00e4\\n"')) == ["a", "", '"},ä\n']


@pytest.mark.parametrize(
    "data",
    [
        events(b'"a"')[:-1],
        events(b'"a"')[1:],
        events(b'"a"') + b"data: [DONE]\n\n",
        events(b'"a"') + b"\n",
        events(b"null"),
        events(b'"a","content":"b"'),
        events(b'"a","tool_calls":[{"index":0}]'),
        events(b'"a"').replace(b'"model":"m"', b'"model":"n"'),
        events(b'"a"').replace(b"null", b'"stop"'),
        events(b'"a"', b'"\xff"'),
        events(b'"a"', b'"\\ud83d"'),
        events(b'"a').replace(b"\n\n", b""),
        events(b'"a"\n'),
        events(b'"a"', b'\n"b"'),
        b"",
    ],
)
def test_bytes_that_differ_from_the_template_are_left_to_the_reader(data: bytes) -> None:
    assert learn_template().match_events(data) is None


@pytest.mark.parametrize(
    "document",
    [
        b'{"choices":[{"delta":{"content":"a","content":"b"}}]}',
        b'{"x":{"content":"a"},"choices":[{"delta":{"content":"b"}}]}',
        b'{"x":"\\"content\\":\\"a\\"","choices":[{"delta":{"content":"b"}}],\n"y":1}',
        b'{"choices":[{"delta":{"content":"b","tool_calls":[{}]}}]}',
    ],
)
def test_an_ambiguous_chunk_gives_no_template(document: bytes) -> None:
    fast_path = learn_template(document)
    assert fast_path.match_events(b"data: " + document + b"\n\n") is None


@pytest.mark.parametrize("leak", ["never", "unopened"])
def test_it_reports_progress_like_the_reader(leak: Any) -> None:
    def record_progress(fast_path: ChunkFastPath | None) -> list[bool]:
        parser = EventParser(SseFraming(), CompletionReader(Quirks(inline_think=leak)), fast_path)
        progress = []
        for data in (events(b'"a"'), events(b'""'), b": comment\n\n", events(b'"b"'), events(b'""', b'""')):
            parser.feed(data)
            progress.append(parser.made_progress)
        return progress

    assert record_progress(ChunkFastPath()) == record_progress(None) == [True, False, False, True, False]


def test_the_number_of_templates_is_limited() -> None:
    fast_path = ChunkFastPath()
    for _ in range(MAX_TEMPLATES):
        assert fast_path.decode_text(b'{"choices":[{"delta":{"content":"a"}}]}') == "a"
    assert fast_path.decode_text(USUAL % b'"a"') == "a"
    assert fast_path.match_events(events(b'"a"')) is None


CHUNKS: list[object] = [
    chunk("a"),
    chunk("b"),
    chunk("", role="assistant"),
    chunk("c", obfuscation="xyz"),
    chunk("d", reasoning="e"),
    chunk("f", reasoning=None, tool_calls=[], refusal=""),
    chunk(["g"]),
    chunk(reasoning="h"),
    chunk("i", usage={"prompt_tokens": 1}),
    chunk("j", usage=None),
    chunk("k", cost="0.1"),
    chunk("l", finish="stop"),
    chunk("r", service_tier="default"),
    chunk("s", service_tier="flex", system_fingerprint="fp_1"),
    chunk("t", system_fingerprint=7),
    chunk("u", service_tier=""),
    chunk(service_tier="scale"),
    chunk("v", annotations=[{"type": "url_citation", "url_citation": {"url": "https://x"}}]),
    chunk("w", images=[], audio=None, annotations=[]),
    chunk("x", images=[{"type": "image_url", "image_url": {"url": "data:,"}}]),
    chunk("y", audio={"data": "AA=="}),
    chunk("z", citations=["https://x"]),
    {"choices": [{"delta": {"content": "A"}, "logprobs": {"content": [{"token": "A", "logprob": -1}]}}]},
    {"choices": [{"delta": {"content": "B"}, "logprobs": None}]},
    chunk(usage={"completion_tokens": 2}),
    chunk("m", error={"message": "no"}),
    chunk(tool_calls=[{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}]),
    {"object": "error", **chunk("n")},
    {"choices": []},
    {"choices": [{"message": {"content": "o"}}]},
    {"choices": [{"delta": {"content": "p"}}, {"delta": {"content": "q"}}]},
    "[DONE]",
    "[]",
    "{",
    ": comment",
]


@settings(max_examples=count_examples(300), deadline=None)
@given(
    said=st.lists(st.sampled_from(CHUNKS), max_size=12),
    cuts=st.lists(st.integers(0, 1500), max_size=6),
    by_usage=st.booleans(),
    leak=st.sampled_from(["never", "tagged"]),
)
def test_it_gives_the_same_deltas_as_the_reader(said: list[object], cuts: list[int], by_usage: bool, leak: Any) -> None:
    body = sse(*said)
    edges = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    pieces = [body[start:end] for start, end in pairwise(edges)]
    quirks = Quirks(provider="p", usage_ends_stream=by_usage, inline_think=leak)
    told = [
        run_parser(EventParser(SseFraming(), CompletionReader(quirks), fast_path), fed)
        for fast_path in (None, ChunkFastPath())
        for fed in (pieces, [body], [sse(event) for event in said])
    ]
    assert told.count(told[0]) == len(told), json.dumps(said)
