"""The fast path of text events gives the same deltas as the full reader, or leaves an event to it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dialects.decoding.event_parser import EventParser
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.decode import ResponseReader
from lakehouse.chat.dialects.responses.text_event_fast_path import TextEventFastPath
from tests.chat.dialects.streams.stream_kit import COMPLETED, run_parser
from tools.kit.examples import count_examples

KIND = "response.output_text.delta"


def event(document: dict[str, Any]) -> bytes:
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return f"event: {document['type']}\ndata: {data}\n\n".encode("utf-8", "replace")


def text_event(number: int, text: object, **fields: Any) -> dict[str, Any]:
    return {"type": KIND, "sequence_number": number, "item_id": "msg_1", "output_index": 0, "content_index": 0,
            "delta": text, "logprobs": [], **fields}  # fmt: skip


def learn(document: dict[str, Any]) -> TextEventFastPath:
    fast_path = TextEventFastPath()
    assert fast_path.decode_text(json.dumps(document, separators=(",", ":")).encode()) == ""
    return fast_path


def test_a_pattern_matches_other_numbers_texts_and_paddings() -> None:
    fast_path = learn(text_event(4, "Hel", obfuscation="abc"))
    data = event(text_event(5, 'l"o\n', obfuscation="x")) + event(text_event(60, "é", obfuscation=""))
    assert fast_path.match_events(data) == ['l"o\n', "é"]


LEFT = {
    "half an event": event(text_event(5, "a"))[:-1],
    "another item": event(text_event(5, "a", item_id="msg_2")),
    "another part": event(text_event(5, "a", content_index=1)),
    "probabilities": event(text_event(5, "a", logprobs=[{"token": "a"}])),
    "a field more": event(text_event(5, "a", novel=1)),
    "no text": event(text_event(5, None)),
    "another kind": event({**text_event(5, "a"), "type": "response.refusal.delta"}),
    "an error behind": event(text_event(5, "a")) + event({"type": "error"}),
    "half a surrogate pair": event(text_event(5, "a")).replace(b'"a"', b'"\\ud83d"'),
    "a text that ends early": event(text_event(5, "a")).replace(b'"a"', b'"a","delta":"b"'),
    "nothing": b"",
}


@pytest.mark.parametrize("data", LEFT.values(), ids=LEFT)
def test_any_other_event_is_left_to_the_reader(data: bytes) -> None:
    assert learn(text_event(4, "Hel")).match_events(data) is None


@pytest.mark.parametrize(
    "document",
    [text_event(4, ""), text_event(4, "a", logprobs=[{"token": "a"}]), text_event(4, "a", error={"message": "x"}),
     text_event(4, "a", novel={"delta": "b"}), {"type": "response.created", "of": KIND}],
)  # fmt: skip
def test_no_pattern_is_learned_from_these(document: dict[str, Any]) -> None:
    assert learn(document).match_events(event(document)) is None


DOCUMENTS = st.builds(
    text_event,
    st.integers(0, 99),
    st.text(max_size=6) | st.none(),
    item_id=st.sampled_from(["msg_1", "msg_2"]),
    content_index=st.integers(0, 1),
    logprobs=st.sampled_from([[], None, [{"token": "a", "logprob": -1.0}]]),
    obfuscation=st.sampled_from(["", "abc"]),
)
OTHERS = st.sampled_from(
    [
        {"type": "response.refusal.delta", "output_index": 0, "content_index": 1, "delta": "No"},
        {"type": "response.output_text.annotation.added", "output_index": 0, "content_index": 0, "annotation": {
            "type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 1}},
        {"type": "error", "message": "out of memory"},
    ]
)  # fmt: skip


@settings(max_examples=count_examples(150))
@given(st.lists(DOCUMENTS | OTHERS, max_size=8), st.lists(st.integers(0, 2000), max_size=6))
def test_it_gives_the_same_deltas_as_the_reader(documents: list[dict[str, Any]], cuts: list[int]) -> None:
    data = b"".join(map(event, documents)) + event(COMPLETED)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    parts = [data[begin:end] for begin, end in pairwise(edges) if begin < end]
    fast = EventParser(SseFraming(), ResponseReader(Quirks()), TextEventFastPath())
    assert run_parser(fast, parts) == run_parser(EventParser(SseFraming(), ResponseReader(Quirks())), parts)
