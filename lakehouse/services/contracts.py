"""What services are to each other, as protocols over frozen values. An implementation may be in this process or a URL.

For all of them: failures are `LakehouseError`s (`ErrNotFound`, `ErrBadRequest`, `ErrUnavailable`, …); sizes are bytes,
times are seconds, moments are aware UTC datetimes; positions count from 0. Every call may be cancelled at any
checkpoint: reads and queries end at once, an engine that works for one is reset or killed; a write has then happened
either completely or not at all, and only one that returned is known to have happened. Iterators hold resources until
they are exhausted or their block ends, and apply back-pressure: nothing is read ahead without a bound.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

JsonValue = None | bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
Vector = Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """An object without its bytes. `etag` is quoted, as in HTTP, and changes whenever the bytes do."""

    key: str
    size: int
    etag: str
    last_modified: datetime
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPage:
    """A part of a listing in the order of keys; `cursor` leads to the next part, an empty string at the end."""

    objects: Sequence[ObjectInfo]
    prefixes: Sequence[str] = ()
    cursor: str = ""


class ObjectReader(Protocol):
    """An object that is being read: its facts, and its bytes in pieces of at most a few hundred KiB."""

    info: ObjectInfo

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class ObjectStore(Protocol):
    """Bytes under keys. Writing replaces an object as a whole; readers of the old bytes read on undisturbed."""

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> AbstractAsyncContextManager[ObjectReader]:
        """Bytes `start` up to, not including, `stop` of an object. Raises ErrNotFound."""

    async def write(
        self,
        key: str,
        body: AsyncIterator[bytes],
        *,
        content_type: str = "application/octet-stream",
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        """Store the body; durable when it returns. What `body` raises leaves the store as it was.

        `if_match` is the etag that the object must have, `if_absent` demands that there is none.
        """

    async def find(self, key: str) -> ObjectInfo | None:
        """The object's facts, or None."""

    async def delete(self, key: str) -> bool:
        """Delete the object; whether there was one."""

    async def list(self, prefix: str = "", *, delimiter: str = "", limit: int = 1000, cursor: str = "") -> ObjectPage:
        """At most `limit` objects whose keys begin with `prefix`; with a `delimiter`, keys are grouped by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column's name and its type as SQL writes it."""

    name: str
    type: str
    nullable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DataObject:
    """One file of a table's rows."""

    key: str
    size: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A table at one snapshot. `snapshot_id` is a decimal string: it may exceed what JSON's numbers hold exactly."""

    dataset_id: str
    name: str
    schema_fingerprint: str
    snapshot_id: str
    columns: Sequence[Column]
    objects: Sequence[DataObject]
    row_count: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One committed state of a table. `operation` is what made it: "append", "overwrite", "delete" or "replace"."""

    snapshot_id: str
    committed_at: datetime
    operation: str
    row_count: int


class Catalog(Protocol):
    """Tables by name. A commit is atomic: readers see the table before it or after it."""

    async def find(self, name: str, *, snapshot_id: str | None = None) -> Manifest | None:
        """A table, now or at a snapshot; None when there is no such table. Raises ErrNotFound for the snapshot."""

    async def list(self) -> Sequence[Manifest]:
        """Every table, in the order of their names."""

    async def snapshots(self, name: str) -> Sequence[Snapshot]:
        """A table's snapshots, the newest first. Raises ErrNotFound."""

    async def append(self, name: str, columns: Sequence[Column], objects: Sequence[DataObject]) -> Manifest:
        """Commit data objects that are in the store to a table, which is created if need be; durable at return."""

    async def replace(self, name: str, columns: Sequence[Column], objects: Sequence[DataObject]) -> Manifest:
        """The same in the place of everything that the table had."""

    async def drop(self, name: str) -> bool:
        """Drop a table, which can be restored until its snapshots expire; whether there was one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One read-only SQL statement. `timeout` can only shorten the engine's own; `max_rows` None is for no bound."""

    sql: str
    params: Sequence[JsonValue] | Mapping[str, JsonValue] = ()
    timeout: float | None = None
    max_rows: int | None = None
    snapshot_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What a query has read so far."""

    rows: int
    bytes: int


class QueryResult(Protocol):
    """A running query: its columns, and then its rows as Arrow record batches in the IPC stream format.

    The whole stream is valid Arrow only when it was read to its end; a query that fails midway raises there.
    """

    columns: Sequence[Column]

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    @property
    def scanned(self) -> Scanned: ...

    @property
    def truncated(self) -> bool:
        """Whether `max_rows` cut the result; known at its end."""


class QueryEngine(Protocol):
    """SQL over the catalog's tables."""

    def run(self, query: Query) -> AbstractAsyncContextManager[QueryResult]:
        """Start a query; the block begins when its columns are known, and ends the query and its use of the processor.

        Raises ErrBadRequest (with the position where known), ErrForbidden for what is not reading, ErrUnavailable when
        all engines are busy for too long, ErrTimeout.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """The vectors of some texts, in their order, and which model made them."""

    model: str
    dimension: int
    vectors: Sequence[Vector]
    input_tokens: int | None = None


class Embedder(Protocol):
    """Texts to vectors."""

    async def embed(self, texts: Sequence[str], *, model: str = "", truncate: bool = False) -> Embeddings:
        """Embed the texts with a model, the default one for an empty name.

        Raises ErrProviderNotFound for an unknown model, and an error that names the item for a text that is too long,
        unless `truncate`.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorItem:
    """One item of an index: its id, and either a vector or a text that the index's model embeds."""

    id: str
    vector: Vector | None = None
    text: str | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)


SearchMode = Literal["vector", "keyword", "hybrid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorQuery:
    """What to search for: a vector or a text. `filter` applies before the best `k` are taken."""

    k: int
    vector: Vector | None = None
    text: str | None = None
    mode: SearchMode = "vector"
    filter: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorHit:
    """One result; results are in ascending order of `distance`. `distance` is None for a hit by keyword alone."""

    id: str
    distance: float | None
    score: float
    text: str | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorHits:
    """The results of a search; `exact` says whether every item was compared."""

    hits: Sequence[VectorHit]
    exact: bool


class VectorIndex(Protocol):
    """Named indexes of vectors, each with a dimension and perhaps an embedding model of its own."""

    async def add(self, index: str, items: Sequence[VectorItem]) -> int:
        """Add items, replacing those with the same id; durable when it returns. The number of items in the index.

        Raises ErrNotFound, and ErrBadRequest for a vector of another dimension than the index has.
        """

    async def delete(self, index: str, ids: Sequence[str]) -> int:
        """Delete items; how many there were."""

    async def search(self, index: str, query: VectorQuery) -> VectorHits:
        """The nearest items. Raises ErrNotFound, ErrBadRequest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalQuery:
    """A question to corpora. With `partial` a corpus that fails or is slow is named in the answer, not raised."""

    text: str
    corpora: Sequence[str]
    k: int
    filter: Mapping[str, JsonValue] = field(default_factory=dict)
    exclude_ids: Sequence[str] = ()
    partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One retrieved piece of a corpus."""

    corpus: str
    id: str
    text: str
    distance: float
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """The passages in ascending order of distance, and the corpora that did not answer, each with the reason."""

    passages: Sequence[Passage]
    failed: Mapping[str, str] = field(default_factory=dict)


class Retriever(Protocol):
    """Passages that a question is answered from."""

    async def retrieve(self, query: RetrievalQuery) -> Retrieval:
        """Search all corpora at once. Raises the first corpus's failure, the others cancelled, unless `partial`."""
