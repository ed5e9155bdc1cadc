"""JSON from upstreams: tolerant decoding, and typed access without trust in the shape.

An upstream's documentation does not guarantee the shape of what it sends, so the dialects use the `as_*` functions
instead of subscripts: a value that is missing, null or of another type reads as empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

JsonObject = dict[str, Any]  # values are read with the functions below

MAX_COUNT = 2**53 - 1
"""The largest integer that every JSON reader keeps exact. Counts are summed as floats, which end at 1e308; JSON has
integers of any length."""


def decode_json(data: bytes) -> object:
    """Return the JSON value in `data`; raises ValueError for anything else.

    Two defects of providers are tolerated, with U+FFFD in place of the bad characters: bytes that are not UTF-8, and
    half a surrogate pair (`"\\ud83d"`), written by servers that cut text by UTF-16 units.
    """
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        if b"\\ud" not in data and b"\\uD" not in data and data.isascii():
            raise
    return _decode_lossy(data)


def _decode_lossy(data: bytes) -> object:
    try:
        value = json.loads(data.decode("utf-8", "replace"), parse_constant=_reject_constant)
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # utf-16 joins adjacent halves of a pair and replaces single ones.
    return json.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def decode_object(data: bytes) -> JsonObject:
    """Return the JSON object in `data`; raises ValueError for anything else."""
    value = decode_json(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def encode_json(value: object) -> str:
    """Return `value` as compact JSON."""
    return msgspec.json.encode(value).decode()


def as_object(value: object) -> JsonObject:
    """Return `value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_objects(value: object) -> list[JsonObject]:
    """Return the objects in `value` if it is an array, else an empty list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_string(value: object) -> str:
    """Return `value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def as_text(value: object) -> str:
    """Return content as text: a string, or the joined text of an array of parts, as some gateways return it."""
    if isinstance(value, list):
        return "".join(part if isinstance(part, str) else as_string(as_object(part).get("text")) for part in value)
    return as_string(value)


def as_count(value: object) -> int | None:
    """Return `value` if it can be a number of tokens, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= MAX_COUNT and value == int(value) else None


def first_object(value: object) -> JsonObject:
    """Return the first object of an array, else an empty one."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                return item
    return {}


def drop_nulls(fields: Mapping[str, object]) -> JsonObject:
    """Return the fields whose value is not None."""
    return {name: value for name, value in fields.items() if value is not None}
