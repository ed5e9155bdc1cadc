"""The fast path of lines of text gives the same deltas as the full reader, or leaves a line to it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dialects.decoding.event_parser import EventParser
from lakehouse.chat.dialects.framing.ndjson import NdjsonFraming
from lakehouse.chat.dialects.ollama.decode import OllamaReader
from lakehouse.chat.dialects.ollama.text_line_fast_path import TextLineFastPath
from lakehouse.chat.dialects.quirks import Quirks
from tests.chat.dialects.streams.stream_kit import run_parser
from tools.kit.examples import count_examples


def encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def line(content: object, *, second: int = 0, beside: dict[str, Any] | None = None, **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **message}
    return {
        "model": "m",
        "created_at": f"2026-11-01T12:00:{second:02}Z",
        "message": said,
        "done": False,
        **(beside or {}),
    }


def learn(document: dict[str, Any]) -> TextLineFastPath:
    fast_path = TextLineFastPath()
    assert fast_path.decode_text(encode(document)[:-1]) == ""
    return fast_path


def test_a_pattern_matches_other_times_and_texts() -> None:
    data = encode(line('l"o\n', second=1)) + encode(line("é\u2028", second=2))
    assert learn(line("Hel")).match_events(data) == ['l"o\n', "é\u2028"]


LEFT = {
    "half a line": encode(line("a"))[:-1],
    "another model": encode({**line("a"), "model": "n"}),
    "a field more": encode(line("a", novel=1)),
    "thinking": encode(line("a", thinking="Hm.")),
    "no text": encode(line(None)),
    "the end": encode({**line("a"), "done": True}),
    "an error behind": encode(line("a")) + encode({"error": "out of memory"}),
    "half a surrogate pair": encode(line("a")).replace(b'"a"', b'"\\ud83d"'),
    "a text that ends early": encode(line("a")).replace(b'"a"', b'"a","content":"b"'),
    "nothing": b"",
}


@pytest.mark.parametrize("data", LEFT.values(), ids=LEFT)
def test_any_other_line_is_left_to_the_reader(data: bytes) -> None:
    assert learn(line("Hel")).match_events(data) is None


@pytest.mark.parametrize(
    "document",
    [
        line(""),
        line("a", tool_calls=[{"function": {"name": "f", "arguments": {}}}]),
        line("a", beside={"logprobs": [{"token": "a"}]}),
        line("a", beside={"error": "x"}),
        line("a", beside={"novel": {"content": "b"}}),
        {"model": "m", "response": "a", "done": False},
    ],
)
def test_no_pattern_is_learned_from_these(document: dict[str, Any]) -> None:
    assert learn(document).match_events(encode(document)) is None


LINES = st.builds(
    line,
    st.text(max_size=6) | st.none(),
    second=st.integers(0, 59),
    beside=st.sampled_from([None, {"logprobs": [{"token": "a", "logprob": -1.0}]}, {"novel": 1}, {"model": "n"}]),
) | st.builds(line, st.text(max_size=6), second=st.integers(0, 59))
OTHERS = st.sampled_from(
    [line("", thinking="Hm."), line("a", thinking="Hm."), {"error": "out of memory"},
     line("", tool_calls=[{"function": {"name": "f", "arguments": {}}}])]
)  # fmt: skip
END = encode({**line(""), "done": True, "done_reason": "stop", "eval_count": 3})


@settings(max_examples=count_examples(150))
@given(
    st.lists(LINES | OTHERS, max_size=8),
    st.lists(st.integers(0, 2000), max_size=6),
    st.sampled_from(["never", "tagged", "unopened"]),
)
def test_it_gives_the_same_deltas_as_the_reader(documents: list[dict[str, Any]], cuts: list[int], inline: Any) -> None:
    data = b"".join(map(encode, documents)) + END
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    parts = [data[begin:end] for begin, end in pairwise(edges) if begin < end]
    quirks = Quirks(inline_think=inline)
    fast = EventParser(NdjsonFraming(), OllamaReader(quirks), TextLineFastPath())
    assert run_parser(fast, parts) == run_parser(EventParser(NdjsonFraming(), OllamaReader(quirks)), parts)
