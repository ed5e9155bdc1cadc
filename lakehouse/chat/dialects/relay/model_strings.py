"""Replaces the strings that name the model in a JSON text: a request, an answer, or an event of a stream."""

from __future__ import annotations

from lakehouse.chat.dialects.relay.json_members import find_values
from lakehouse.chat.dialects.relay.model_strings_fast_path import find_model_strings, find_only_model

Span = tuple[int, int]
"""Offsets of a string, its quotes included."""

_QUOTE = b'"'[0]


def find_models(data: bytes, outer: str = "", *, start: int = 0) -> list[Span]:
    """Return the offsets of the strings that are a member `model` of the first object at or after `start`, or with
    `outer` of each object of that name inside it. Values of other types are not returned."""
    spans = find_model_strings(data, outer, start)
    if spans is not None:
        return spans
    path = (outer.encode(), b"model") if outer else (b"model",)
    return [span for span in find_values(data, path, start) if data[span[0]] == _QUOTE]


def replace_spans(data: bytes, spans: list[Span], value: bytes) -> bytes:
    """Return `data` with `value` in place of each of `spans`, which are in their order."""
    pieces, start = list[bytes](), 0
    for begin, end in spans:
        pieces += (data[start:begin], value)
        start = end
    return b"".join([*pieces, data[start:]])


def replace_model(document: bytes, value: bytes) -> bytes:
    """Return an object that has a string `model` with the JSON string `value` in its place."""
    only = find_only_model(document)
    return replace_spans(document, find_models(document) if only is None else [only], value)
