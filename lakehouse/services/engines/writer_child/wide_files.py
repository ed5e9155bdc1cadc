"""Writes Parquet files of very many columns: slices of columns by DuckDB, put together by pyarrow.

DuckDB holds 256 KiB for each column while it writes, 2.5 GB for 10,000 columns. The slices have the same rows in the
same order and in the same row groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.services.engines.database import quote, quote_name
from lakehouse.services.engines.writer_child.call_errors import unprocessable

if TYPE_CHECKING:
    import duckdb

WIDE = 500
"""Columns from which on a table is written in slices."""
SLICE = 400
"""Columns of a slice."""
ROWS = 2048
"""Rows of a row group, the fewest that DuckDB writes."""


def write_wide_file(
    connection: duckdb.DuckDBPyConnection, sql: str, columns: Sequence[str], field_ids: str, path: Path
) -> int:
    """Write the rows of a SELECT with these columns. Returns their number."""
    ids = read_field_ids(connection, field_ids)
    slices = []
    for start in range(0, len(columns), SLICE):
        names = columns[start : start + SLICE]
        part = path.with_suffix(f".{start}")
        connection.execute(
            f"COPY (SELECT {', '.join(map(quote_name, names))} FROM ({sql})) TO {quote(str(part))} (FORMAT parquet, "
            f"COMPRESSION lz4_raw, ROW_GROUP_SIZE {ROWS}, FIELD_IDS {format_ids({name: ids[name] for name in names})})"
        )
        slices.append(part)
    rows = _join_slices(slices, path)
    for part in slices:
        part.unlink()
    return rows


def _join_slices(slices: Sequence[Path], path: Path) -> int:
    """Put the slices side by side, one row group after the other. Field ids are kept. Returns the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [pq.ParquetFile(part) for part in slices]
    if len({(file.metadata.num_rows, file.num_row_groups) for file in files}) > 1:
        raise unprocessable("the file gives different numbers of rows for different columns: nothing is stored")
    schema = pa.schema([field for file in files for field in file.schema_arrow])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for number in range(files[0].num_row_groups):
            tables = [file.read_row_group(number, use_threads=False) for file in files]
            columns = [column for table in tables for column in table.columns]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    rows: int = files[0].metadata.num_rows
    for file in files:
        file.close()
    return rows


def read_field_ids(connection: duckdb.DuckDBPyConnection, field_ids: str) -> Mapping[str, object]:
    """Read the value of FIELD_IDS, which is a literal: a number for each column, or a dictionary with its parts."""
    row = connection.execute(f"SELECT {field_ids}").fetchone()
    if row is None or not isinstance(row[0], dict):
        raise ValueError("the field ids are a STRUCT")
    return row[0]


def format_ids(ids: object) -> str:
    """Write field ids as a literal of SQL."""
    if isinstance(ids, Mapping):
        return f"{{{', '.join(f'{quote_name(name)}: {format_ids(part)}' for name, part in ids.items())}}}"
    return str(ids)
