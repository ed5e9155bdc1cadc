"""The formats beside CSV and TSV, which are JSON, NDJSON, Parquet and Arrow: one inspection for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb

from lakehouse.services.contracts.write_engine import ParseOptions
from lakehouse.services.engines.writer_child.call_errors import bad_request
from lakehouse.services.engines.writer_child.json_source import inspect_json
from lakehouse.services.engines.writer_child.source import InspectedSource
from lakehouse.services.engines.writer_child.unpack import Unpacked


def inspect_other(
    connection: duckdb.DuckDBPyConnection,
    unpacked: Unpacked,
    options: ParseOptions,
    staging: Path,
    *,
    check: Callable[[], None],
) -> InspectedSource:
    """Read a whole file that is neither CSV nor TSV. Columns of `options.types` come as text, for `force_columns`."""
    _check_options(unpacked.format, options)
    options = replace(options, format=unpacked.format)
    if unpacked.format in ("json", "ndjson"):
        return inspect_json(unpacked.path, options, staging, check=check)
    if unpacked.format == "parquet":
        from lakehouse.services.engines.writer_child.parquet_source import inspect_parquet  # imports pyarrow: 0.2 s

        return inspect_parquet(connection, unpacked.path, options, staging, check=check)
    from lakehouse.services.engines.writer_child.arrow_source import inspect_arrow

    return inspect_arrow(unpacked.path, options, staging, check=check)


def _check_options(format_: str, options: ParseOptions) -> None:
    """Refuse parameters that the format does not have."""
    given = {
        "delimiter": options.delimiter,
        "quote": options.quote,
        "header": options.header is not None,
        "skip": options.skip,
        "null": options.null is not None,
        "encoding": options.encoding if format_ in ("parquet", "arrow") else "",
    }
    for name, value in given.items():
        if value:
            raise bad_request(f"`{name}` does not apply to the format {format_}")
