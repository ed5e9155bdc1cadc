"""Writing of the records of a JSON file again, in a form that DuckDB reads without changing a value.

Columns are called by their number; a value that is kept as text is a JSON string: strings as they are, numbers as they
were written, everything else as its compact JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lakehouse.services.engines.writer_child.json_kinds import ARRAY, OBJECT, Node
from lakehouse.services.engines.writer_child.json_records import Batch
from lakehouse.services.engines.writer_child.json_scanner import RawNumber, quote_json, write_json

Write = Callable[[object], str]


def write_records(records: Iterable[Batch], nodes: Mapping[str, Node], path: Path) -> int:
    """Write the records, of a raw scanner, as NDJSON. Returns the bytes of the longest line."""
    writers = {key: (f'"{number}":', make_writer(node)) for number, (key, node) in enumerate(nodes.items())}
    longest = 0
    with path.open("wb") as output:
        for batch in records:
            lines = [_write_record(record, writers).encode() for record in batch.records]
            longest = max(longest, max(map(len, lines), default=0))
            output.write(b"".join(lines))
    return longest


def _write_record(record: tuple[tuple[str, object], ...], writers: Mapping[str, tuple[str, Write]]) -> str:
    parts = []
    for key, value in record:
        if value is not None:
            name, write = writers[key]
            parts.append(name + write(value))
    return "{" + ",".join(parts) + "}\n"


def make_writer(node: Node) -> Write:
    """The function that writes the values of a node; they are not None."""
    if node.is_text:
        return _write_text
    if node.kinds & OBJECT:
        return _make_object_writer(node)
    if node.kinds & ARRAY and node.element is not None:
        return _make_array_writer(make_writer(node.element))
    return write_json


def _write_text(value: object) -> str:
    if isinstance(value, RawNumber):
        return f'"{value}"'
    return quote_json(value if isinstance(value, str) else write_json(value))


def _make_object_writer(node: Node) -> Write:
    writers = {key: (f"{quote_json(key)}:", make_writer(field)) for key, field in node.fields.items()}

    def write(value: object) -> str:
        assert isinstance(value, tuple)  # noqa: S101 - the kind of the node
        parts = (writers[key][0] + writers[key][1](child) for key, child in value if child is not None)
        return "{" + ",".join(parts) + "}"

    return write


def _make_array_writer(write_element: Write) -> Write:
    def write(value: object) -> str:
        assert isinstance(value, list)  # noqa: S101 - the kind of the node
        return "[" + ",".join("null" if child is None else write_element(child) for child in value) + "]"

    return write
