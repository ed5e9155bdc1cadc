"""JSON as upstreams write it: read leniently, looked at without trust.

Nothing that an upstream sends is known to have the shape that its documentation gives it, so the dialects ask with
these instead of with subscripts: what is missing, null or of another type is simply not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

JsonObject = dict[str, Any]  # values are looked at with the functions below

MAX_COUNT = 2**53 - 1
"""The largest number that every reader of JSON keeps as it is. Counts are added up as floats, which end at 1e308; JSON
has integers of any length."""


def load(data: bytes) -> object:
    """The JSON value in `data`; raises ValueError when it is none.

    Two things that providers do are forgiven, the offending characters becoming U+FFFD: bytes that are no UTF-8, and
    half a surrogate pair (`"\\ud83d"`), which is what a server writes that cuts its text by UTF-16 units.
    """
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        if b"\\ud" not in data and b"\\uD" not in data and data.isascii():
            raise
    return _load_lossy(data)


def _load_lossy(data: bytes) -> object:
    try:
        value = json.loads(data.decode("utf-8", "replace"), parse_constant=_refuse_constant)
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # utf-16 joins what halves of a pair stand together, and replaces the lonely ones.
    return json.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def load_object(data: bytes) -> JsonObject:
    """The JSON object in `data`; raises ValueError when it is none."""
    value = load(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def dump(value: object) -> str:
    """`value` as compact JSON."""
    return msgspec.json.encode(value).decode()


def mapping(value: object) -> JsonObject:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[JsonObject]:
    """The objects in `value` if it is an array, else none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def string(value: object) -> str:
    """`value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def text(value: object) -> str:
    """Content as text: a string, or the text of an array of parts, as some gateways return it. Null is empty."""
    if isinstance(value, list):
        return "".join(part if isinstance(part, str) else string(mapping(part).get("text")) for part in value)
    return string(value)


def count(value: object) -> int | None:
    """`value` if it can be a number of tokens, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= MAX_COUNT and value == int(value) else None


def without_nulls(fields: Mapping[str, object]) -> JsonObject:
    """The fields that have a value: what a caller leaves out is not sent."""
    return {name: value for name, value in fields.items() if value is not None}


def first(value: object) -> JsonObject:
    """The first object of an array, else an empty one."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                return item
    return {}
