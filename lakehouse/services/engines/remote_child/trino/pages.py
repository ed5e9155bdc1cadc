"""The rows of a statement of Trino: the parent fetches the pages, each when this child asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import pyarrow as pa

from lakehouse.process.calls.rpc_child import Call, CallError
from lakehouse.services.engines.query_messages import BAD_REQUEST, UNPROCESSABLE
from lakehouse.services.engines.remote_child.trino.types import Kind, Signature, make_kind
from lakehouse.services.engines.remote_messages import RemoteRequest, SourceSettings


class _Column(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    type_signature: Signature


class TrinoPages:
    """The source of rows. Its statements are cancelled by the parent, which speaks the protocol."""

    def __init__(self, _settings: SourceSettings) -> None:
        """Nothing has to be known here."""

    def interrupt(self) -> None:
        """The wait for a page ends with the cancelled call."""

    @contextmanager
    def open(self, _request: RemoteRequest, call: Call) -> Iterator[_Rows]:
        """Wait for the columns."""
        described = call.receive()
        if described is None:
            raise CallError(BAD_REQUEST, "the statement has no result")
        yield _Rows(msgspec.json.decode(described, type=list[_Column]), call)


class _Rows:
    """The rows page by page, of which one is here at a time."""

    scanned: tuple[int, int] | None = None

    def __init__(self, columns: Sequence[_Column], call: Call) -> None:
        self._kinds = [make_kind(column.type_signature) for column in columns]
        self._call = call
        self.casts = [kind.sql if kind.cast else "" for kind in self._kinds]
        self.schema = pa.schema([(column.name, kind.arrow) for column, kind in zip(columns, self._kinds, strict=True)])

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (page := self._call.receive()) is not None:
            rows = msgspec.json.decode(page, type=list[list[object]])
            try:
                columns = zip(self._kinds, zip(*rows, strict=True), strict=True)
                arrays = [make_array(kind, values) for kind, values in columns]
                yield pa.record_batch(arrays, schema=self.schema)
            except (pa.ArrowException, ValueError, TypeError) as error:
                raise CallError(UNPROCESSABLE, f"a value of Trino cannot be read: {error}") from None


def make_array(kind: Kind, values: Sequence[object]) -> pa.Array:
    """The values of one column."""
    return pa.array(values if kind.convert is None else map(kind.apply, values), kind.arrow)
