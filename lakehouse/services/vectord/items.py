"""The items of an upload: decoded one by one, checked, and converted for the engine.

An error has the path of the field, such as `items[3].vector`, and the position of the item in its details. The event
loop is left to others after every `SLICE` bytes, because an upload may have 64 MiB.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from math import isfinite
from typing import TypeVar

import msgspec
import trio

from lakehouse.asgi.json_body import decode_json
from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.retrieval import Item
from lakehouse.services.vectord.requests import OMITTED, AddRequest, is_given

T = TypeVar("T")

SLICE = 256 * 1024
"""Bytes of JSON that are decoded without a checkpoint."""
MAX_ID = 1024
"""Bytes of an item's id."""
MAX_EXPLAINED = 8 * 1024 * 1024
"""Bytes of a body in which the position of a NaN is looked for."""


class ItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One item of the body of `…/add`."""

    id: str
    vector: list[float] | None = None
    text: str | None = None
    metadata: msgspec.Raw = OMITTED


def decode_vectors(body: bytes, shape: type[T]) -> T:
    """Decode a body with vectors. Raises ErrBadRequest; for a NaN, which is not JSON, with its position."""
    try:
        return decode_json(body, shape)
    except ErrBadRequest as error:
        if error.field is None and len(body) <= MAX_EXPLAINED and (b"NaN" in body or b"Infinity" in body):
            _find_not_a_number(body)
        raise


async def convert_items(request: AddRequest) -> list[Item]:
    """Decode and check all items. Raises ErrBadRequest for the first one that does not fit."""
    items: list[Item] = []
    left = SLICE
    for position, raw in enumerate(request.items):
        items.append(_convert(position, raw))
        left -= len(raw)
        if left <= 0:
            left = SLICE
            await trio.lowlevel.checkpoint()
    return items


def pack_vector(values: Sequence[float], field: str, details: dict[str, object] | None = None) -> bytes:
    """The vector as float32. Raises ErrBadRequest, with the field, for an empty one and for one with an infinity."""
    if not values:
        raise ErrBadRequest(f"`{field}` is empty", field=field, details=details)
    packed = array("f", values)
    if not isfinite(sum(packed)):  # a NaN or an infinity among the components remains one in the sum
        raise ErrBadRequest(
            f"`{field}` has a component that is not a finite number in 32 bits", field=field, details=details
        )
    return packed.tobytes()


def _convert(position: int, raw: msgspec.Raw) -> Item:
    details: dict[str, object] = {"item": position}
    try:
        body = decode_json(bytes(raw), ItemBody)
    except ErrBadRequest as error:
        path = f"items[{position}]" + (f".{error.field}" if error.field else "")
        message = error.message.replace(f"`{error.field}`", f"`{path}`", 1) if error.field else f"`{path}`: {error}"
        raise ErrBadRequest(message, field=path, details=details) from None
    place = f"items[{position}]"
    if problem := _find_id_problem(body.id):
        raise ErrBadRequest(f"`{place}.id` {problem}", field=f"{place}.id", details=details)
    if body.vector is None and body.text is None:
        raise ErrBadRequest(f"`{place}.vector` or `{place}.text` is required", field=f"{place}.vector", details=details)
    if is_given(body.metadata) and not bytes(body.metadata).startswith(b"{"):
        raise ErrBadRequest(f"`{place}.metadata` must be an object", field=f"{place}.metadata", details=details)
    vector = b"" if body.vector is None else pack_vector(body.vector, f"{place}.vector", details)
    metadata = bytes(body.metadata) if is_given(body.metadata) else b""
    return Item(id=body.id, vector=vector, text=body.text, metadata=metadata)


def _find_id_problem(id_: str) -> str:
    if not id_:
        return "is empty"
    if len(id_.encode("utf-8", "surrogatepass")) > MAX_ID:
        return f"is longer than {MAX_ID:,} bytes"
    return "has a NUL character" if "\0" in id_ else ""


def _find_not_a_number(body: bytes) -> None:
    """Raise ErrBadRequest for the first vector of a body that has the literals NaN or Infinity."""
    found: list[str] = []

    def note(name: str) -> NotANumber:
        found.append(name)
        return NotANumber()

    try:
        document = json.loads(body, parse_constant=note)
    except (ValueError, RecursionError):
        return
    if not isinstance(document, dict):
        return
    items = document.get("items")
    places: list[tuple[str, object, dict[str, object] | None]] = [("vector", document, None)]
    if isinstance(items, list):
        places += [(f"items[{position}].vector", item, {"item": position}) for position, item in enumerate(items)]
    for field, item, details in places:
        vector = item.get("vector") if isinstance(item, dict) else None
        if isinstance(vector, list) and any(isinstance(value, NotANumber) for value in vector):
            message = f"`{field}` has the component {found[0]}, which is no number of JSON"
            raise ErrBadRequest(message, field=field, details=details)


class NotANumber:
    """Stands for a literal that is no number of JSON."""
