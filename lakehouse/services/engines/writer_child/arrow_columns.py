"""The columns of an Arrow schema: their targets, their names, the Parquet file with their values, and the SELECT."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.write_engine import IngestWarning, ParseOptions
from lakehouse.services.engines.database import quote, quote_name
from lakehouse.services.engines.writer_child.arrow_types import Target, UnsupportedType, find_target, has_nanoseconds
from lakehouse.services.engines.writer_child.arrow_values import check_sizes, convert, has_single_nanoseconds
from lakehouse.services.engines.writer_child.call_errors import bad_request, too_large, unprocessable
from lakehouse.services.engines.writer_child.column_names import assign_names
from lakehouse.services.engines.writer_child.source import MAX_COLUMNS, InspectedSource, merge_warnings


class ArrowColumns:
    """The columns of one file. `look` is called with all batches before `decide`."""

    def __init__(self, schema: pa.Schema) -> None:
        if not len(schema):
            raise unprocessable("the file has no columns")
        if len(schema) > MAX_COLUMNS:
            raise too_large(f"the file has {len(schema)} columns: the limit is {MAX_COLUMNS}")
        self._schema = schema
        self.timed = [number for number, field in enumerate(schema) if has_nanoseconds(field.type)]
        """The positions of columns that count nanoseconds."""
        self.fine: set[int] = set()
        """The positions of columns with values that have single nanoseconds."""
        self.row_count = 0
        self.filled: set[int] = set()
        """The positions of columns that have a value."""
        self.targets: list[Target] = []

    def look(self, batch: pa.RecordBatch) -> None:
        """Count the rows of a batch, and check its values."""
        self.row_count += batch.num_rows
        for number, field in enumerate(self._schema):
            check_sizes(batch.column(number), field.name)
            if batch.column(number).null_count < batch.num_rows:
                self.filled.add(number)
        for number in self.timed:
            self.look_at_time(number, batch.column(number))

    def look_at_time(self, number: int, array: pa.Array) -> None:
        """Look for single nanoseconds in a column that counts nanoseconds."""
        if number not in self.fine and has_single_nanoseconds(array):
            self.fine.add(number)

    def decide(self) -> None:
        """Find the target of every column. Raises `CallError` (422) for a type that a table cannot hold."""
        for number, field in enumerate(self._schema):
            try:
                self.targets.append(find_target(field.type, fine=number in self.fine))
            except UnsupportedType as error:
                raise unprocessable(f"the column {field.name!r} cannot be stored: {error}", column=field.name) from None

    def write(self, batches: Iterable[pa.RecordBatch], path: Path, *, check: Callable[[], None]) -> None:
        """Write all values as Parquet, in columns that are called by their position."""
        fields = [pa.field(str(number), target.arrow) for number, target in enumerate(self.targets)]
        schema = pa.schema(fields)
        with pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=False, write_statistics=False) as writer:
            for batch in batches:
                check()
                arrays = [
                    convert(batch.column(number), target, self._schema.field(number).name)
                    for number, target in enumerate(self.targets)
                ]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))

    def make_source(self, path: Path, options: ParseOptions) -> InspectedSource:
        """The verdict, and the SELECT over a Parquet file with these columns in this order."""
        names, renamed = assign_names([field.name for field in self._schema])
        columns = [Column(name=name, type=target.sql) for name, target in zip(names, self.targets, strict=True)]
        forced = {name for name, _ in options.types}
        for name in forced - set(names):
            raise bad_request(f"`types` names the column {name[:120]!r}, which the file does not have", column=name)
        types = ["VARCHAR" if column.name in forced else column.type for column in columns]
        return InspectedSource(
            columns=[Column(name=name, type=type_) for name, type_ in zip(names, types, strict=True)],
            row_count=self.row_count,
            warnings=merge_warnings([*renamed, *self._describe_types(names, forced)]),
            sql=select_parquet(path, names, types),
            open_types={
                name: "NULL" for number, name in enumerate(names) if number not in self.filled and name not in forced
            },
        )

    def _describe_types(self, names: Sequence[str], forced: set[str]) -> Iterator[IngestWarning]:
        """The warnings about columns whose type is another one in the table."""
        for name, field, target in zip(names, self._schema, self.targets, strict=True):
            if name not in forced:
                for note in (*target.notes, *_describe_extension(field)):
                    yield IngestWarning(column=name, line=None, message=note)


def _describe_extension(field: pa.Field) -> list[str]:
    """A field of an extension type that pyarrow does not know comes as its storage, with the name beside it."""
    name = (field.metadata or {}).get(b"ARROW:extension:name", b"").decode(errors="replace")
    return [f"{name[:120]} is stored as its storage type"] if name else []


def select_parquet(path: Path, names: Sequence[str], types: Sequence[str]) -> str:
    """A SELECT over the columns of a Parquet file by their position: names may occur twice in it."""
    positions = [f"c{number}" for number in range(len(names))]
    values = ", ".join(
        f"CAST({position} AS {type_}) AS {quote_name(name)}"
        for position, name, type_ in zip(positions, names, types, strict=True)
    )
    return f"SELECT {values} FROM read_parquet({quote(str(path))}) AS file({', '.join(positions)})"
