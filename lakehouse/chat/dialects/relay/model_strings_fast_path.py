"""Fast path for finding the model's name in a JSON text, where no escape can hide it.

Skips: reading every token of the text, which a body of an agent has thousands of. Each place that looks like a member
`model` is examined alone: the text before it, closed behind a probe, is valid JSON with the probe in the right object
exactly if the place is a member of that object.

Equality with the full search: `test_model_strings.test_it_finds_the_strings_that_the_full_search_finds` (a property
over objects). Bench table: `Relayed and rebuilt chats` (`python -m tools.bench --only forms`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from lakehouse.chat.dialects.relay.json_members import ESCAPED_LETTER

MAX_CANDIDATES = 16
"""Places that are examined in one text, each at the cost of decoding what stands before it."""

_NAME = b'"model"'
_STRING = re.compile(rb'\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")', re.DOTALL)
_OUTER = {name: re.compile(rb'"%b"\s*:' % name.encode()) for name in ("response", "message")}
_PROBE = '"\u2318":0'.encode()


class _Object(msgspec.Struct, gc=False):
    """An object, and the objects inside of it that may have the name."""

    model: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()


_decode_object = msgspec.json.Decoder(_Object).decode


def find_only_model(document: bytes) -> tuple[int, int] | None:
    """Return the offsets of the string `model` of an object that is known to have one, if the name occurs only once in
    its bytes; None: it must be searched."""
    if document.count(_NAME) != 1 or ESCAPED_LETTER in document:
        return None
    found = _STRING.match(document, document.index(_NAME) + len(_NAME))
    return None if found is None else found.span(1)


def find_model_strings(data: bytes, outer: str, start: int) -> list[tuple[int, int]] | None:
    """Return the offsets of the strings that are a member `model` of the first object at or after `start`, or with
    `outer` of the object of that name inside it (`response` or `message`); None: the full search is needed."""
    if ESCAPED_LETTER in data or (outer and len(_OUTER[outer].findall(data, start)) > 1):
        return None
    first = next(_find_candidates(data, start), None)
    if first is None:
        return []
    place, span = first
    try:
        if _is_member(data[start:place], outer) and not _has_member(data[span[1] :], outer):
            return [span]  # nearly every text that has it
        return _examine_all(data, outer, start)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _examine_all(data: bytes, outer: str, start: int) -> list[tuple[int, int]] | None:
    """Return what `find_model_strings` does, after more than one look at the text. Raises as the decoder."""
    has_string = _has_string(data[start:], outer)
    if not has_string:
        return [] if has_string is not None else None
    candidates = list(_find_candidates(data, start))
    if len(candidates) > MAX_CANDIDATES:
        return None
    return [span for place, span in candidates if _is_member(data[start:place], outer)] or None


def _has_string(document: bytes, outer: str) -> bool | None:
    """Return whether the object has a string `model`; None if the last `model` or `outer` is of another type, so that
    one before it may be a string. Raises as the decoder."""
    found = _decode_object(document)
    if outer:
        inner = bytes(getattr(found, outer))
        if inner and not inner.startswith(b"{"):
            return None
        found = _decode_object(inner) if inner else _Object()
    model = bytes(found.model)
    return model.startswith(b'"') or (None if model else False)


def _is_member(before: bytes, outer: str) -> bool:
    """Return whether a member behind `before` would be one of the object that is looked for."""
    try:
        document = _decode_object(b"%b%b%b" % (before, _PROBE, b"}}" if outer else b"}"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return not outer or bytes(getattr(document, outer)).endswith(b"%b}" % _PROBE)


def _has_member(after: bytes, outer: str) -> bool:
    """Return whether the object has another `model` among the members `after` its first one. Raises as the decoder."""
    if not outer:
        return bool(bytes(_decode_object(b"{%b%b" % (_PROBE, after)).model))
    document = _decode_object(b'{"%b":{%b%b' % (outer.encode(), _PROBE, after))
    return bool(bytes(_decode_object(bytes(getattr(document, outer))).model))


def _find_candidates(data: bytes, start: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield the places of names of members, and the offsets of their strings. In a string, a quote is escaped."""
    place = data.find(_NAME, start)
    while place >= 0:
        end = place + len(_NAME)
        if data[place - 1 : place] != b"\\" and (found := _STRING.match(data, end)) is not None:
            yield place, found.span(1)
        place = data.find(_NAME, end)
