"""Arrow files and streams: checked whole, and written as a Parquet file that DuckDB reads without changing a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc

from lakehouse.services.contracts.write_engine import ParseOptions
from lakehouse.services.engines.writer_child.arrow_columns import ArrowColumns
from lakehouse.services.engines.writer_child.call_errors import unprocessable
from lakehouse.services.engines.writer_child.source import InspectedSource

FILE_MAGIC = b"ARROW1"
END_MARK = b"\xff\xff\xff\xff\0\0\0\0"
"""The continuation mark and a length of zero: the end of a stream."""


def inspect_arrow(path: Path, options: ParseOptions, staging: Path, *, check: Callable[[], None]) -> InspectedSource:
    """Read a whole file or stream of Arrow, and write it as Parquet into `staging`."""
    with path.open("rb") as file:
        is_file = file.read(6) == FILE_MAGIC
    read = _read_file if is_file else _read_stream
    with read_errors():
        columns = ArrowColumns(_read_schema(path, is_file=is_file))
        for batch in read(path):
            check()
            batch.validate(full=True)
            columns.look(batch)
        columns.decide()
        columns.write(read(path), staging / "rows.parquet", check=check)
        return columns.make_source(staging / "rows.parquet", options)


@contextmanager
def read_errors(what: str = "Arrow") -> Iterator[None]:
    """Turn an error of pyarrow about the file into a refusal."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowSerializationError, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise unprocessable(f"the {what} data cannot be read: {error}") from None
    except (EOFError, OSError, pa.ArrowKeyError, pa.ArrowIndexError) as error:
        if isinstance(error, OSError) and error.errno:  # of the system, not of the reader
            raise
        raise unprocessable(f"the {what} data cannot be read: {error}") from None


def _read_schema(path: Path, *, is_file: bool) -> pa.Schema:
    with pa.OSFile(str(path)) as source, (ipc.open_file if is_file else ipc.open_stream)(source) as reader:
        return reader.schema


def _read_file(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path)) as source, ipc.open_file(source) as reader:
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _read_stream(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a stream. It has to end with its mark: without it, batches may be missing."""
    size = path.stat().st_size
    with pa.OSFile(str(path)) as source, ipc.open_stream(source) as reader:
        yield from reader
        end = source.tell()
    with path.open("rb") as file:
        file.seek(max(0, end - len(END_MARK)))
        mark = file.read(len(END_MARK))
    if mark != END_MARK:
        raise unprocessable("the Arrow stream has no end mark: it is truncated", offset=end)
    if end != size:
        raise unprocessable(f"there are {size - end} bytes behind the end mark of the Arrow stream", offset=end)
