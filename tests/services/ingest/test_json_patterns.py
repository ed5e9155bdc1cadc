"""The expression that skips lines of a large NDJSON file: the verdict is the one of the scanner, whatever the lines are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.writer_child import json_patterns, json_source, text_chunks
from lakehouse.services.engines.writer_child.json_patterns import LinePattern
from tests.services.ingest.format_kit import Reader
from tools.kit.examples import count_examples

PLAIN = [
    json.dumps({"id": i, "x": i / 4, "s": f"text {i}\n", "ok": i % 2 == 0, "l": [i, i + 1], "o": {"a": None, "b": "é"}})
    for i in range(60)
]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_chunks, "CHUNK", 700)


def verdict(read: Reader, text: str, monkeypatch: pytest.MonkeyPatch, *, matched: bool) -> Any:
    """What becomes of a file, with or without the expression."""
    monkeypatch.setattr(json_source, "MIN_FILE", 0 if matched else 2**62)
    try:
        result = read(text, "data.ndjson")
    except CallError as error:
        return error.failure.kind, error.failure.message, bytes(error.failure.details)
    return result.columns, result.rows, result.warnings


LATE = [
    '{"id":1,"x":0.5,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"id":2,"x":0.5,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.5,"s":"x","ok":true,"l":[1],"o":{"a":null,"a":null}}',
    '{"id":1,"x":NaN,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":-0,"x":0.5,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":01,"x":0.5,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":9007199254740993,"x":0.5,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":99999999999999999999,"x":0.5,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.1234567890123456789,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":1e400,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":.5,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":1.,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.5,"s":"\\ud800","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.5,"s":"\\udc00\\ud800","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.5,"s":"\\ud83d\\ude00 \\u00e9 \\\\ \\"","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.5,"s":"\\x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.5,"s":"a\tb","ok":true,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.5,"s":"x","ok":True,"l":[1],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.5,"s":"x","ok":true,"l":[1,],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.5,"s":"x","ok":true,"l":[1 2],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.5,"s":"x","ok":true,"l":[[1]],"o":{"a":null,"b":"x"}}',
    '{"id":1,"x":0.5,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}} {}',
    '{"id":1,"x":0.5,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}',
    '{"id":1,"x":0.5,"s":"x","ok":true,"l":[1],"o":{"a":null,"b":"x"}}}',
    '{"s":7,"new":1}',
    '{"x":0.5,"id":1}',
    "[1]",
    "",
    "   ",
    "{}",
    "null",
    "\x0b{}",
]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("late", LATE)
def test_a_late_line_has_the_verdict_of_the_scanner(read: Reader, monkeypatch: pytest.MonkeyPatch, late: str) -> None:
    text = "\n".join([*PLAIN, late, *PLAIN[:9]])
    expected = verdict(read, text, monkeypatch, matched=False)
    assert verdict(read, text, monkeypatch, matched=True) == expected


@pytest.mark.usefixtures("small_chunks")
def test_plain_lines_are_not_scanned(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    original = LinePattern.select

    def count(self: LinePattern, lines: list[str]) -> list[int] | None:
        positions = original(self, lines)
        chosen.append(len(lines) if positions is None else len(positions))
        return positions

    monkeypatch.setattr(json_patterns.LinePattern, "select", count)
    columns, rows, warnings = verdict(read, "\n".join(PLAIN * 4), monkeypatch, matched=True)
    assert (len(columns), len(rows), warnings) == (6, 240, [])
    assert sum(chosen) < 30


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**66), 2**66),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1000, 1000).map(lambda value: round(value, 3)),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner), max_leaves=4
)
RECORDS = st.dictionaries(st.sampled_from(["a", "b", "c.d", "e f", 'g"', "A", "\\"]), VALUES, max_size=4)


@settings(max_examples=count_examples(25))
@given(records=st.lists(RECORDS, min_size=12, max_size=40), ascii_only=st.booleans())
def test_any_records_have_the_verdict_of_the_scanner(
    read: Reader, records: list[dict[str, Any]], ascii_only: bool
) -> None:
    text = "\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in records * 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_chunks, "CHUNK", 200)
        expected = verdict(read, text, patch, matched=False)
        assert verdict(read, text, patch, matched=True) == expected
