"""JSON and NDJSON: the columns of the whole file, and the SELECT that reads them.

The first pass looks at every value. If DuckDB can read the file as it stands, it does so with the columns that were
found; otherwise a second pass writes the records again, with the values that are text as JSON strings.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.write_engine import IngestWarning, ParseOptions
from lakehouse.services.engines.database import quote, quote_name
from lakehouse.services.engines.writer_child.call_errors import bad_request, too_large, unprocessable
from lakehouse.services.engines.writer_child.column_names import assign_names
from lakehouse.services.engines.writer_child.json_kinds import MAX_ORDERS, Node, check_keys
from lakehouse.services.engines.writer_child.json_patterns import MIN_FILE, LinePattern
from lakehouse.services.engines.writer_child.json_records import Batch, JsonRecords, Layout
from lakehouse.services.engines.writer_child.json_rewriting import write_records
from lakehouse.services.engines.writer_child.source import MAX_COLUMNS, InspectedSource, merge_warnings

DEFAULT_OBJECT_SIZE = 16 * 2**20
"""Bytes of the largest object that DuckDB reads by default."""


def inspect_json(path: Path, options: ParseOptions, staging: Path, *, check: Callable[[], None]) -> InspectedSource:
    """Read a whole file of JSON. The columns of `options.types` are read as text, in the SELECT too."""
    with paused_collection():
        return _inspect(path, options, staging, check)


@contextmanager
def paused_collection() -> Iterator[None]:
    """Pause the collection of cycles: parsed values have none, and looking for them takes 40 % of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _inspect(path: Path, options: ParseOptions, staging: Path, check: Callable[[], None]) -> InspectedSource:
    records = JsonRecords(path, lines=options.format == "ndjson", encoding=options.encoding, check=check)
    columns = JsonColumns()
    if path.stat().st_size >= MIN_FILE:
        records.select = LinePattern(columns).select
    for batch in records:
        columns.count(batch)
    columns.settle(options)
    names, renamed = assign_names(list(columns.nodes))
    warnings = merge_warnings([*columns.describe_conflicts(names, records.unit), *renamed])
    nodes = list(columns.nodes.values())
    keys = list(columns.nodes)
    if columns.needs_rewriting or records.chunks.encoding != "utf-8" or records.chunks.mark:
        raw = JsonRecords(path, lines=options.format == "ndjson", encoding=options.encoding, raw=True, check=check)
        path = staging / "records.ndjson"
        keys = [str(number) for number in range(len(nodes))]
        longest = write_records(raw, columns.nodes, path)
        layout: Layout = "newline_delimited"
    else:
        longest, layout = 4 * records.longest, records.layout
    return InspectedSource(
        columns=[Column(name=name, type=node.type()) for name, node in zip(names, nodes, strict=True)],
        row_count=columns.row_count,
        warnings=warnings,
        sql=_select(path, layout, keys, names, nodes, longest),
        open_types={
            name: open_type
            for name, node in zip(names, nodes, strict=True)
            if (open_type := node.type(undecided="NULL")) != node.type()
        },
    )


class JsonColumns:
    """The columns of a file in the order in which their keys appear, and the number of records."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.row_count = 0
        self.orders: set[tuple[str, ...]] = set()
        """The first orders in which records have their keys, at most `MAX_ORDERS`."""

    def count(self, batch: Batch) -> None:
        """Count the values of some records.

        Records with the same keys and the same Python types are counted together: the work for one value is little.
        """
        groups: dict[tuple[tuple[str, ...], tuple[type, ...]], tuple[list[tuple[object, ...]], list[int]]] = {}
        for record, place in zip(batch.records, batch.places, strict=True):
            if not record:
                continue
            keys, values = zip(*record, strict=True)
            shape = (keys, tuple(map(type, values)))
            if shape in groups:
                rows, places = groups[shape]
                rows.append(values)
                places.append(place)
            else:
                check_keys(record, place)
                if len(self.orders) < MAX_ORDERS:
                    self.orders.add(keys)
                groups[shape] = ([values], [place])
        for (keys, types), (rows, places) in groups.items():
            for key, kind, values in zip(keys, types, zip(*rows, strict=True), strict=True):
                self._find(key).see_column(kind, values, places)
        self.row_count += len(batch.records) + batch.matched

    def _find(self, key: str) -> Node:
        node = self.nodes.get(key)
        if node is None:
            if len(self.nodes) == MAX_COLUMNS:
                raise too_large(f"the file has more than {MAX_COLUMNS} columns (keys of its objects)")
            node = self.nodes[key] = Node()
        return node

    def settle(self, options: ParseOptions) -> None:
        """Decide on the type of every column."""
        if not self.row_count:
            raise unprocessable("the file has no records: it is empty")
        if not self.nodes:
            raise unprocessable("the records of the file have no keys: there are no columns")
        for name, _ in options.types:
            if name not in self.nodes:
                raise bad_request(f"`types` names the column {name[:120]!r}, which the file does not have", column=name)
            self.nodes[name].forced = True
        for node in self.nodes.values():
            node.settle()

    @property
    def needs_rewriting(self) -> bool:
        """Whether DuckDB cannot read the records as they stand."""
        folded = {key.casefold() for key in self.nodes}
        return len(folded) < len(self.nodes) or "" in self.nodes or any(n.needs_rewriting for n in self.nodes.values())

    def describe_conflicts(self, names: Sequence[str], unit: str) -> Iterator[IngestWarning]:
        """One warning for each column that has text in place of other values; it tells the first of them."""
        for name, node in zip(names, self.nodes.values(), strict=True):
            conflicts = sorted(node.conflicts(), key=lambda conflict: conflict.place)
            if not conflicts or node.forced:
                continue
            first = conflicts[0]
            where = f"`{name}{first.path}`" if first.path else "the column"
            message = f"{where} is kept as text: {first.reason} ({unit} {first.place})"
            yield IngestWarning(column=name, line=first.place, message=message)


def _select(
    path: Path, layout: Layout, keys: Sequence[str], names: Sequence[str], nodes: Sequence[Node], longest: int
) -> str:
    columns = ", ".join(f"{quote_name(key)}: {quote(node.type())}" for key, node in zip(keys, nodes, strict=True))
    values = ", ".join(f"{quote_name(key)} AS {quote_name(name)}" for key, name in zip(keys, names, strict=True))
    size = max(DEFAULT_OBJECT_SIZE, longest + 1024)
    form = f"format = '{layout}', records = true, maximum_object_size = {size}, compression = 'uncompressed'"
    return f"SELECT {values} FROM read_json({quote(str(path))}, columns = {{{columns}}}, {form})"
