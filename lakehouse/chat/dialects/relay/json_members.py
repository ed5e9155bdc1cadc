"""Edits members of a JSON object in its bytes. All other bytes stay as they are.

The object must be valid JSON; it has been parsed before. Names are compared after decoding, so that `"mod\\u0065l"` is
`model`, and each of several members of one name is found.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

import msgspec

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]', re.DOTALL)
_OPENING, _CLOSING = b"{[", b"}]"
_QUOTE, _COLON, _BRACE = b'":{'

ESCAPED_LETTER = b"\\u006"
"""The beginning of every escape of a letter of `model`."""

_decode_string = msgspec.json.Decoder(str, strict=False).decode


class Member(NamedTuple):
    """A member of an object, by offsets: of its name, and of its value without white space around it."""

    name: bytes
    start: int
    value_start: int
    value_end: int


def find_members(data: bytes, start: int = 0) -> Iterator[Member]:
    """Yield the members of the first object at or after `start`, not those of objects inside it. `name` is decoded."""
    depth = 0
    name: bytes | None = None  # of the member whose value is being read
    name_start = value_start = 0
    for token in _TOKEN.finditer(data, start):
        char = data[token.start()]
        if depth == 1 and char in b",}" and name is not None:
            yield Member(name, name_start, value_start, _strip_end(data, token.start()))
            name = None
        if char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth -= 1
            if depth == 0:
                return
        elif depth == 1 and char == _QUOTE and name is None:
            name, name_start = _decode_name(token[0]), token.start()
        elif depth == 1 and char == _COLON:
            value_start = _skip_space(data, token.end())


def find_values(data: bytes, path: tuple[bytes, ...], start: int = 0) -> list[tuple[int, int]]:
    """Return the offsets of the values at `path`, which leads through objects, in their order."""
    name, *rest = path
    found: list[tuple[int, int]] = []
    for member in find_members(data, start):
        if member.name != name:
            continue
        if not rest:
            found.append((member.value_start, member.value_end))
        elif data[member.value_start] == _BRACE:
            found += find_values(data, tuple(rest), member.value_start)
    return found


def remove_members(data: bytes, names: Collection[bytes]) -> bytes:
    """Return an object without its members of these names, in one pass over its bytes."""
    members = list(find_members(data))
    kept = [position for position, member in enumerate(members) if member.name not in names]
    if len(kept) == len(members):
        return data
    if not kept:
        return data[: members[0].start] + data[members[-1].value_end :]
    last = members[kept[-1]]
    pieces = [data[members[position].start : members[position + 1].start] for position in kept[:-1]]
    pieces += (data[last.start : last.value_end], data[members[-1].value_end :])
    return data[: members[0].start] + b"".join(pieces)


def append_member(data: bytes, member: bytes) -> bytes:
    """Return an object that has at least one member with `member` (`"name":value`) after the others."""
    end = data.rindex(b"}")
    return data[:end] + b"," + member + data[end:]


def _decode_name(token: bytes) -> bytes:
    if b"\\" not in token:
        return token[1:-1]
    try:
        return _decode_string(token).encode()
    except (ValueError, UnicodeError):  # half a surrogate pair, which the lenient decoder of answers accepts
        return token[1:-1]


def _skip_space(data: bytes, position: int) -> int:
    while data[position : position + 1].isspace():
        position += 1
    return position


def _strip_end(data: bytes, position: int) -> int:
    while data[position - 1 : position].isspace():
        position -= 1
    return position
