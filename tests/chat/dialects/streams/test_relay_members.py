"""Members of a JSON text are found, replaced, removed and added in its bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dialects.relay.json_members import append_member, find_members, remove_members
from lakehouse.chat.dialects.relay.model_strings import replace_model
from tools.kit.examples import count_examples

SCALARS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8)
NAMES = st.sampled_from(["model", "m", "mode", 'a"model', "fallbacks", "", "é"]) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
BLANKS = st.sampled_from(["", " ", "\n", " \t"])


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """An object as bytes: duplicate names, escapes and white space wherever JSON allows them."""
    members = draw(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=6))
    written = []
    for name, value in members:
        spelled = json.dumps(name, ensure_ascii=draw(st.booleans()))
        if draw(st.booleans()):
            spelled = '"' + "".join(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else char for char in name) + '"'
        spaces = [draw(BLANKS) for _ in range(4)]
        written.append(f"{spaces[0]}{spelled}{spaces[1]}:{spaces[2]}{json.dumps(value)}{spaces[3]}")
    return (draw(BLANKS) + "{" + ",".join(written) + "}" + draw(BLANKS)).encode("utf-8", "replace")


def pairs(data: bytes) -> list[tuple[str, Any]]:
    """The members of the outermost object, duplicates included, as a parser reads them."""
    read: list[tuple[str, Any]] = json.loads(data, object_pairs_hook=lambda found: found)
    return read


@settings(max_examples=count_examples(50))
@given(objects())
def test_the_scanner_finds_the_members_that_a_parser_finds(data: bytes) -> None:
    found = [(member.name.decode(), data[member.value_start : member.value_end]) for member in find_members(data)]
    assert [(name, pairs(b'{"v":%b}' % value)[0][1]) for name, value in found] == pairs(data)


@settings(max_examples=count_examples(50))
@given(objects(), st.text(max_size=6))
def test_only_a_string_at_the_top_is_replaced(data: bytes, name: str) -> None:
    value = json.dumps(name).encode()
    renamed = replace_model(data, value)
    assert pairs(renamed) == [
        (key, name if key == "model" and isinstance(old, str) else old) for key, old in pairs(data)
    ]
    if replace_model(renamed, value) != renamed:
        pytest.fail("a second replacement changed bytes")


@settings(max_examples=count_examples(50))
@given(objects(), st.sets(st.sampled_from(["model", "fallbacks", "m", "é"])))
def test_removed_members_leave_the_others_as_they_are(data: bytes, names: set[str]) -> None:
    left = remove_members(data, {name.encode() for name in names})
    assert pairs(left) == [(name, value) for name, value in pairs(data) if name not in names]


def test_the_time_of_an_edit_grows_with_the_size_of_the_object_alone() -> None:
    """Each of so many members takes microseconds. One pass over the object for each of them would take minutes."""
    many = 5_000
    left = remove_members(b'{"model":"m",' + b'"n":1,' * many + b'"messages":[]}', [b"n"])
    assert left == b'{"model":"m","messages":[]}'
    renamed = replace_model(b'{"a":1' + b',"model":"x"' * many + b"}", b'"m"')
    assert renamed == b'{"a":1' + b',"model":"m"' * many + b"}"


REQUESTS = {
    "first": (b'{"model":"x/m","messages":[]}', b'{"model":"m","messages":[]}'),
    "last": (b'{"messages":[],"model" : "x/m" }', b'{"messages":[],"model" : "m" }'),
    "nested": (b'{"a":{"model":"q"},"model":"x/m"}', b'{"a":{"model":"q"},"model":"m"}'),
    "in a string": (b'{"a":"\\"model\\":\\"q\\"","model":"x/m"}', b'{"a":"\\"model\\":\\"q\\"","model":"m"}'),
    "a value": (b'{"a":"model","model":"x/m"}', b'{"a":"model","model":"m"}'),
    "the end of a string": (b'{"a":"\\"model","model":"x/m"}', b'{"a":"\\"model","model":"m"}'),
    "escaped": (b'{"mod\\u0065l":"x/m","a":{"model":"q"}}', b'{"mod\\u0065l":"m","a":{"model":"q"}}'),
    "twice": (b'{"model":"q","model":"x/m"}', b'{"model":"m","model":"m"}'),
    "an escape within": (b'{"model":"x\\/m","a":1}', b'{"model":"m","a":1}'),
}


@pytest.mark.parametrize(("body", "sent"), REQUESTS.values(), ids=REQUESTS)
def test_the_model_of_a_request(body: bytes, sent: bytes) -> None:
    assert replace_model(body, b'"m"') == sent


def test_a_member_is_added_behind_the_others() -> None:
    assert append_member(b'{"a":{"b":1} }\n', b'"c":2') == b'{"a":{"b":1} ,"c":2}\n'
