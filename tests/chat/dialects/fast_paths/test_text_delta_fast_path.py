"""The fast path of text deltas gives the same deltas as the full reader, or leaves an event to it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dialects.decoding.event_parser import EventParser
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.dialects.messages.decode import MessagesReader
from lakehouse.chat.dialects.messages.text_delta_fast_path import TextDeltaFastPath
from lakehouse.chat.dialects.quirks import Quirks
from tests.chat.dialects.streams.stream_kit import run_parser
from tools.kit.examples import count_examples


def event(document: dict[str, Any]) -> bytes:
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return f"event: {document['type']}\ndata: {data}\n\n".encode("utf-8", "replace")


def text_delta(text: object, index: int = 0, **fields: Any) -> dict[str, Any]:
    delta = {"type": "text_delta", "text": text, **fields}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def learn(document: dict[str, Any]) -> TextDeltaFastPath:
    fast_path = TextDeltaFastPath()
    fast_path.decode_text(json.dumps(document, separators=(",", ":")).encode())
    return fast_path


def test_a_template_matches_other_texts() -> None:
    data = event(text_delta('l"o\n')) + event(text_delta("\u00e9"))
    assert learn(text_delta("Hel")).match_events(data) == ['l"o\n', "\u00e9"]


LEFT = {
    "half an event": event(text_delta("a"))[:-1],
    "another block": event(text_delta("a", 1)),
    "a field more": event(text_delta("a", novel=1)),
    "no text": event(text_delta(None)),
    "another delta": event(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "a"}}
    ),
    "an error behind": event(text_delta("a")) + event({"type": "error", "error": {"type": "overloaded_error"}}),
    "half a surrogate pair": event(text_delta("a")).replace(b'"a"', b'"\\ud83d"'),
    "a text that ends early": event(text_delta("a")).replace(b'"a"', b'"a","text":"b"'),
    "nothing": b"",
}


@pytest.mark.parametrize("data", LEFT.values(), ids=LEFT)
def test_any_other_event_is_left_to_the_reader(data: bytes) -> None:
    assert learn(text_delta("Hel")).match_events(data) is None


@pytest.mark.parametrize(
    "document",
    [
        text_delta(""),
        {**text_delta("a"), "type": "content_block_start"},
        {**text_delta("a"), "error": {"message": "x"}},
        {**text_delta("a"), "object": "error"},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": '"text_delta"'},
        },
    ],
)
def test_no_text_is_read_from_these(document: dict[str, Any]) -> None:
    fast_path = TextDeltaFastPath()
    assert fast_path.decode_text(json.dumps(document).encode()) == ""
    assert fast_path.match_events(event(document)) is None


def start(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


CITATION = {"type": "char_location", "cited_text": "x", "document_index": 0, "start_char_index": 0, "end_char_index": 1}
TEXTS = st.builds(text_delta, st.text(max_size=6) | st.none(), st.integers(0, 1), novel=st.just(1)) | st.builds(
    text_delta, st.text(max_size=6), st.integers(0, 1)
)
OTHERS = st.sampled_from(
    [
        start(0, {"type": "text", "text": ""}),
        start(1, {"type": "thinking", "thinking": "", "signature": ""}),
        {"type": "content_block_delta", "index": 1, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "signature_delta", "signature": "S"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": CITATION}},
        {"type": "content_block_stop", "index": 0},
        {"type": "ping"},
        {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
    ]
)
END = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}) + event(
    {"type": "message_stop"}
)


@settings(max_examples=count_examples(150))
@given(
    st.lists(TEXTS | OTHERS, max_size=8),
    st.lists(st.integers(0, 2000), max_size=6),
    st.sampled_from(["never", "tagged", "unopened"]),
)
def test_it_gives_the_same_deltas_as_the_reader(documents: list[dict[str, Any]], cuts: list[int], inline: Any) -> None:
    data = b"".join(map(event, documents)) + END
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    parts = [data[begin:end] for begin, end in pairwise(edges) if begin < end]
    quirks = Quirks(inline_think=inline)
    fast = EventParser(SseFraming(), MessagesReader(quirks), TextDeltaFastPath())
    assert run_parser(fast, parts) == run_parser(EventParser(SseFraming(), MessagesReader(quirks)), parts)
