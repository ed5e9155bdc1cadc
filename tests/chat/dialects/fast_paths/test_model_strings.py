"""The fast path of names of models finds the same strings as the full search, or leaves a text to it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dialects.relay.json_members import find_values
from lakehouse.chat.dialects.relay.model_strings import find_models
from lakehouse.chat.dialects.relay.model_strings_fast_path import MAX_CANDIDATES, find_model_strings
from tools.kit.examples import count_examples


class Members(list[tuple[str, object]]):
    """The members of an object, duplicates included."""


def members(values: st.SearchStrategy[object]) -> st.SearchStrategy[Members]:
    return st.lists(st.tuples(NAMES, values), max_size=4).map(Members)


NAMES = st.sampled_from(["model", "response", "message", "m", 'a"model', "tools", '"model":"x"', "\\", "\ud83d"])
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | NAMES
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | members(inner), max_leaves=12)
BLANKS = st.sampled_from(["", " ", "\n"])


def write(value: object, space: str) -> str:
    if isinstance(value, Members):
        written = [f"{json.dumps(name)}{space}:{space}{write(inner, space)}" for name, inner in value]
        return "{" + space + ",".join(written) + space + "}"
    if isinstance(value, list):
        return "[" + ",".join(write(inner, space) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=value != "\ud83d") if isinstance(value, str) else json.dumps(value)


def search(data: bytes, outer: str, start: int) -> list[tuple[int, int]]:
    path = (outer.encode(), b"model") if outer else (b"model",)
    return [span for span in find_values(data, path, start) if data[span[0]] == b'"'[0]]


@settings(max_examples=count_examples(300))
@given(members(VALUES), BLANKS, st.sampled_from(["", "response", "message"]), st.sampled_from(["", "event: x\ndata:"]))
def test_it_finds_the_strings_that_the_full_search_finds(value: Members, space: str, outer: str, before: str) -> None:
    data = (before + write(value, space) + "\n\n").encode("utf-8", "surrogatepass")
    expected = search(data, outer, len(before))
    assert find_models(data, outer, start=len(before)) == expected
    assert find_model_strings(data, outer, len(before)) in (expected, None)


FOUND = {
    "first": (b'{"model":"a","tools":[{"model":"b"}]}', "", 1),
    "behind objects": (b'{"tools":[{"model":"b"}],"model":"a"}', "", 1),
    "twice": (b'{"model":"a","model":"b"}', "", 2),
    "of an object inside": (b'{"response":{"tools":[{"model":"b"}],"model":"a"},"model":"c"}', "response", 1),
    "of no object": (b'{"tools":[{"model":"b"}]}', "", 0),
    "in a text": (b'{"delta":"\\"model\\":\\"b\\""}', "", 0),
    "no string": (b'{"model":{"model":"b"}}', "response", 0),
}


@pytest.mark.parametrize(("data", "outer", "count"), FOUND.values(), ids=FOUND)
def test_it_finds_the_member_of_the_right_object(data: bytes, outer: str, count: int) -> None:
    found = find_model_strings(data, outer, 0)
    assert found == search(data, outer, 0)
    assert len(found or ()) == count


@pytest.mark.parametrize(
    "data",
    [b'{"mod\\u0065l":"a"}', b"{" + b'"m":{"model":"b"},' * (MAX_CANDIDATES + 1) + b'"model":"a"}', b'{"model":"a"'],
)
def test_other_texts_are_left_to_the_full_search(data: bytes) -> None:
    assert find_model_strings(data, "", 0) is None
