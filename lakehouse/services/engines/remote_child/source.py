"""The interface of a source of rows: the client of one server, or pages that the parent has fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import pyarrow as pa

from lakehouse.process.calls.rpc_child import Call
from lakehouse.services.engines.remote_messages import RemoteRequest, VersionRequest


class Batches(Protocol):
    """The rows of a running statement, read as they are asked for, by any thread.

    `schema` has the columns, with their names as the engine gives them. `casts` has for each column a type of DuckDB
    that Arrow cannot express, empty for none; an empty sequence if there is none at all. The iterator raises CallError,
    or CallCancelled.
    """

    schema: pa.Schema
    casts: Sequence[str]

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...

    @property
    def scanned(self) -> tuple[int, int] | None:
        """The rows and bytes that the engine has read, at the end; None if the engine does not say."""


class Source(Protocol):
    """The client of a server. It runs one statement at a time."""

    def open(self, request: RemoteRequest, call: Call) -> AbstractContextManager[Batches]:
        """Start a statement. The block begins when its columns are known; its end cancels what still runs.

        Raises CallError of the kinds of `query_messages`, with a `position` in characters in the details where the
        server gives one, and with `replace` if the client cannot be used any more.
        """

    def interrupt(self) -> None:
        """Cancel the running statement on the server; called by another thread. Must not block."""


@runtime_checkable
class VersionReader(Protocol):
    """A source whose server can be asked for its version."""

    def read_version(self, request: VersionRequest) -> str:
        """Ask the server. Raises CallError."""
