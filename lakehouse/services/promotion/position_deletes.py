"""Files with position deletes, which other engines write: they name the data files that they apply to.

Used by the child. https://iceberg.apache.org/spec/#position-delete-files
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.promotion.avro_values import Record
from lakehouse.services.promotion.locations import Move
from lakehouse.services.tables.storage import DATASETS

PATH_COLUMN, PATH_ID = "file_path", 2147483546
"""The column with the data file, and its field id."""


def write_moved_deletes(path: str, place: Path, move: Move) -> int:
    """Write a file with the new locations of the data files. Returns its size. Raises CallError if it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as source:
            table = source.read()
        index = table.schema.get_field_index(PATH_COLUMN)
        locations = [move.try_move(location) for location in table.column(index).to_pylist()]
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CallError("unprocessable", f"the file with deletes {path} is damaged: {error}") from None
    field = table.schema.field(index)
    pq.write_table(table.set_column(index, field, pa.array(locations, field.type)), place, compression="zstd")
    return place.stat().st_size


def move_bounds(file: Record, move: Move) -> None:
    """The bounds of the column with the locations, in the entry of such a file. They may be cut."""
    for name in ("lower_bounds", "upper_bounds"):
        for bound in cast("list[Record]", file.get(name) or []):
            if bound["key"] == PATH_ID:
                value = cast("bytes", bound["value"])
                whole = value.startswith(DATASETS.encode())  # the order of cut ones is kept by the same beginning
                bound["value"] = move.root.encode() + value if whole else move.try_move(value.decode()).encode()
