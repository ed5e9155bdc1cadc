"""Parquet files: the schema decides whether DuckDB reads the file as it is, or pyarrow hands the values over.

DuckDB checks the text of every value when the file is converted. It does not keep single nanoseconds of INT96 and of
times of day, and rounds decimals of more than 38 digits: a file that has such values is written again by pyarrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from lakehouse.services.contracts.write_engine import ParseOptions
from lakehouse.services.engines.database import quote
from lakehouse.services.engines.writer_child.arrow_columns import ArrowColumns
from lakehouse.services.engines.writer_child.arrow_source import read_errors
from lakehouse.services.engines.writer_child.arrow_types import Target
from lakehouse.services.engines.writer_child.arrow_values import value_too_large
from lakehouse.services.engines.writer_child.call_errors import unprocessable
from lakehouse.services.engines.writer_child.source import MAX_VALUE, InspectedSource

BATCH = 32_768
"""Rows that are handed over at once."""


def inspect_parquet(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    options: ParseOptions,
    staging: Path,
    *,
    check: Callable[[], None],
) -> InspectedSource:
    """Decide on the columns of a Parquet file. Values are read only where their type does not tell enough."""
    _check_ends(path)
    with read_errors("Parquet"), pq.ParquetFile(path) as file:
        columns = ArrowColumns(file.schema_arrow)
        wide = _find_int96(file)
        _look_at_times(file, path, columns, wide, check)
        columns.row_count = file.metadata.num_rows
        columns.filled = _find_filled(file)
        columns.decide()
        _read_annotations(file, columns)
        if all(target.direct for target in columns.targets):
            _check_sizes(connection, file, path)
            return columns.make_source(path, options)
        columns.write(_read(file, check), staging / "rows.parquet", check=check)
    return columns.make_source(staging / "rows.parquet", options)


def _check_ends(path: Path) -> None:
    with path.open("rb") as file:
        first = file.read(4)
        size = file.seek(0, 2)
        file.seek(max(0, size - 4))
        last = file.read(4)
    if b"PARE" in (first, last):
        raise unprocessable("the Parquet file is encrypted: send it without encryption")
    if first != b"PAR1" or last != b"PAR1" or size < 12:
        raise unprocessable("the Parquet file has no footer at its end: it is truncated or damaged")


def _find_int96(file: pq.ParquetFile) -> set[str]:
    """The names of the top-level columns with INT96."""
    schema = file.schema
    return {
        schema.column(number).path.split(".")[0]
        for number in range(len(schema))
        if schema.column(number).physical_type == "INT96"
    }


def _find_filled(file: pq.ParquetFile) -> set[int]:
    """The positions of columns that may have a value: those whose statistics do not say that all are NULL."""
    metadata, groups = file.metadata, range(file.metadata.num_row_groups)
    positions = {field.name: number for number, field in enumerate(file.schema_arrow)}
    filled = {number for number, field in enumerate(file.schema_arrow) if not kinds.is_null(field.type)}
    for leaf in range(metadata.num_columns):
        position = positions.get(file.schema.column(leaf).path)
        if position is not None and all(_is_empty(metadata.row_group(group).column(leaf)) for group in groups):
            filled.discard(position)
    return filled


def _is_empty(chunk: pq.ColumnChunkMetaData) -> bool:
    statistics = chunk.statistics
    return statistics is not None and statistics.has_null_count and statistics.null_count == chunk.num_values


def _read_annotations(file: pq.ParquetFile, columns: ArrowColumns) -> None:
    """Look at what pyarrow does not show: Parquet's own intervals, which are bytes for it, and its enumerations."""
    positions = {field.name: number for number, field in enumerate(file.schema_arrow)}
    for leaf in range(len(file.schema)):
        column = file.schema.column(leaf)
        position = positions.get(column.path)
        if column.converted_type == "ENUM" and position is not None:
            target = columns.targets[position]
            columns.targets[position] = replace(target, notes=(*target.notes, "an enumeration is stored as its values"))
        if column.converted_type == "INTERVAL":
            if position is None or not all(target.direct for target in columns.targets):
                raise unprocessable(
                    f"the column {column.path!r} has intervals that are not read: write it as text", column=column.path
                )
            note = "intervals are stored as text"
            columns.targets[position] = Target(sql="VARCHAR", arrow=pa.binary(12), notes=(note,))


def _look_at_times(
    file: pq.ParquetFile, path: Path, columns: ArrowColumns, wide: set[str], check: Callable[[], None]
) -> None:
    """Find the columns with single nanoseconds. INT96 is read twice: as nanoseconds it wraps after the year 2262."""
    if not columns.timed:
        return
    names = [file.schema_arrow.names[number] for number in columns.timed]
    if len(set(file.schema_arrow.names)) < len(file.schema_arrow.names):
        names = list(file.schema_arrow.names)
    for batch in file.iter_batches(batch_size=BATCH, columns=list(dict.fromkeys(names))):
        check()
        batch.validate(full=True)
        _look(columns, batch, file.schema_arrow)
    for name in wide:
        _check_range(path, name, file.schema_arrow, columns, check)


def _look(columns: ArrowColumns, batch: pa.RecordBatch, schema: pa.Schema) -> None:
    whole = len(batch.schema) == len(schema)
    for number in columns.timed:
        position = number if whole else batch.schema.get_field_index(schema.names[number])
        columns.look_at_time(number, batch.column(position))


def _check_range(path: Path, name: str, schema: pa.Schema, columns: ArrowColumns, check: Callable[[], None]) -> None:
    """Refuse INT96 with single nanoseconds beside years that 64 bits of nanoseconds do not reach."""
    number = schema.get_field_index(name)
    flat = number >= 0 and kinds.is_timestamp(schema.field(number).type)
    fine = wrapped = False
    with pq.ParquetFile(path) as exact, pq.ParquetFile(path, coerce_int96_timestamp_unit="us") as coarse:
        pairs = zip(exact.iter_batches(BATCH, columns=[name]), coarse.iter_batches(BATCH, columns=[name]), strict=True)
        for nanoseconds, microseconds in pairs:
            check()
            fine_values, values = nanoseconds.column(0), microseconds.column(0)
            wrapped |= not pc.cast(fine_values, values.type, safe=False).equals(values)
            if flat:
                wholes = pc.multiply(pc.cast(values, pa.int64()), 1000)
                rest = pc.subtract(pc.cast(fine_values, pa.int64()), wholes)  # wraps as the values do
                fine |= bool(pc.any(pc.not_equal(rest, 0)).as_py())
    if wrapped and (fine or not flat):
        raise unprocessable(
            f"the column {name!r} has nanoseconds, and years outside of 1677 to 2262: no type holds both", column=name
        )
    if wrapped:
        columns.fine.discard(number)


def _read(file: pq.ParquetFile, check: Callable[[], None]) -> Iterator[pa.RecordBatch]:
    for batch in file.iter_batches(batch_size=BATCH):
        check()
        batch.validate(full=True)
        yield batch


def _check_sizes(connection: duckdb.DuckDBPyConnection, file: pq.ParquetFile, path: Path) -> None:
    """Refuse a value over the limit. A column chunk that is smaller than the limit has none, and is not read."""
    metadata, schema = file.metadata, file.schema
    flat = {field.name: number for number, field in enumerate(file.schema_arrow)}
    for leaf in range(metadata.num_columns):
        name = schema.column(leaf).path
        if schema.column(leaf).physical_type != "BYTE_ARRAY" or name not in flat:
            continue
        sizes = (
            metadata.row_group(group).column(leaf).total_uncompressed_size for group in range(metadata.num_row_groups)
        )
        if max(sizes, default=0) > MAX_VALUE:
            positions = ", ".join(f"c{number}" for number in range(len(flat)))
            value = f"c{flat[name]}"
            sql = f"SELECT max(strlen({value})) FROM read_parquet({quote(str(path))}) AS file({positions})"
            ((longest,),) = connection.execute(sql).fetchall()
            if longest is not None and longest > MAX_VALUE:
                raise value_too_large(name, longest)
