"""The filter on the metadata of hits after retrieval: every key has to match.

A scalar must be equal (1 and 1.0 are, 1 and true are not), a list means any of its values. A hit without the key, or
whose metadata is no object or cannot be decoded, does not match. vectord's `filter` is applied before the cut; this one
is the original's.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


def matches(metadata: bytes, wanted: Mapping[str, object]) -> bool:
    """Whether metadata, as JSON, match all keys of a filter."""
    if not metadata:
        return False
    try:
        document = msgspec.json.decode(metadata)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    if not isinstance(document, dict):
        return False
    return all(key in document and _matches_value(document[key], value) for key, value in wanted.items())


def _matches_value(found: object, wanted: object) -> bool:
    if isinstance(wanted, list):
        return any(_is_equal(found, value) for value in wanted)
    return _is_equal(found, wanted)


def _is_equal(found: object, wanted: object) -> bool:
    """JSON equality: a boolean is not a number."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_is_equal, found, wanted))
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_is_equal(found[key], wanted[key]) for key in found)
    return found == wanted
