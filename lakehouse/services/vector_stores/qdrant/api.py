"""The requests of Qdrant's REST API that the store makes, and what is read of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import msgspec

from lakehouse.services.vector_stores.remote.client import RESPONSE_TIMEOUT, Refused, StoreClient

KEY_FIELD = "api-key"
Document = dict[str, Any]
T = TypeVar("T")
WAIT = "?wait=true"
"""A change is durable and visible when it is answered."""


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """The envelope of all answers."""

    result: T


class Root(msgspec.Struct, frozen=True):
    """The answer of `/`."""

    version: str


class CollectionName(msgspec.Struct, frozen=True):
    """One collection of a list."""

    name: str


class CollectionNames(msgspec.Struct, frozen=True):
    """The list of collections."""

    collections: list[CollectionName]


class SparseVector(msgspec.Struct, frozen=True):
    """Positions and values, each position once."""

    indices: list[int]
    values: list[float]


class Vectors(msgspec.Struct, frozen=True, omit_defaults=True):
    """The named vectors of a point."""

    dense: list[float] | None = None
    words: SparseVector | None = None


class Payload(msgspec.Struct, frozen=True, omit_defaults=True):
    """The payload of an item, or of one of the points that describe an index (`index`, `version`, `source`).

    `metadata` is the JSON document as it was given, `pieces` are the tokens of the model, `tokens` those by which
    filters select. `norm` is the length of a vector, of which Qdrant keeps the direction.
    """

    id: str = ""
    metadata: str = ""
    text: str | None = None
    group: str = ""
    digest: str = ""
    pieces: str = ""
    norm: float = 0.0
    tokens: list[str] = []
    numbers: dict[str, list[float]] = {}
    index: str = ""
    identity: str = ""
    created: int = 0
    version: int = 0
    texts: int = 0
    words: int = 0
    source: str = ""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A point, as it is written and as it is read. `score` is that of a query."""

    id: str | int
    vector: Vectors | None = None
    payload: Payload | None = None
    score: float | None = None

    @property
    def fields(self) -> Payload:
        return self.payload or Payload()


class Points(msgspec.Struct, frozen=True):
    """The answer of one query."""

    points: list[Point]


class Page(msgspec.Struct, frozen=True):
    """A part of a list in the order of the points' ids."""

    points: list[Point]
    next_page_offset: str | int | None = None


class Count(msgspec.Struct, frozen=True):
    """A number of points."""

    count: int


class Update(msgspec.Struct, frozen=True):
    """What became of a change."""

    status: Literal["acknowledged", "completed", "wait_timeout"]


class WrittenPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A point of a request."""

    id: str | int
    vector: Vectors
    payload: Payload


class QdrantApi:
    """The collections of a server. Every call raises `Refused`, and what `StoreClient.call` raises."""

    def __init__(self, client: StoreClient) -> None:
        self.client = client

    async def read_version(self) -> str:
        """The version of the server."""
        return (await self.client.call("GET", "/", Root)).version

    async def list_collections(self) -> list[str]:
        """The names of all collections."""
        found = await self.client.call("GET", "/collections", Answer[CollectionNames])
        return [one.name for one in found.result.collections]

    async def create_collection(self, name: str, options: Document) -> bool:
        """Create a collection; False if there is one."""
        try:
            await self.client.call("PUT", _path(name), Answer[bool], options)
        except Refused as refused:
            if "already exists" in str(refused):  # 409, and 400 before 1.9
                return False
            raise
        return True

    async def delete_collection(self, name: str) -> bool:
        """Delete a collection; False if there is none."""
        return (await self.client.call("DELETE", _path(name), Answer[bool])).result

    async def create_payload_index(self, name: str, field: str, kind: str) -> None:
        """Index a field of the payload, by which filters are fast."""
        await self._update("PUT", name, "/index", {"field_name": field, "field_schema": kind})

    async def upsert(self, name: str, points: Sequence[WrittenPoint]) -> None:
        """Write points. All of them are written at once, in one entry of the log."""
        await self._update("PUT", name, "/points", {"points": points})

    async def delete_points(self, name: str, ids: Sequence[str]) -> None:
        """Delete points by id; unknown ones are ignored."""
        await self._update("POST", name, "/points/delete", {"points": ids})

    async def update_batch(self, name: str, operations: Sequence[Document]) -> None:
        """Several changes, one after the other."""
        target = f"{_path(name)}/points/batch{WAIT}"
        answer = await self.client.call("POST", target, Answer[list[Update]], {"operations": operations})
        for update in answer.result:
            self._check(update)

    async def retrieve(
        self, name: str, ids: Sequence[str | int], *, payload: bool | Sequence[str] = True, vector: Sequence[str] = ()
    ) -> list[Point]:
        """The points with these ids that are there."""
        document = {"ids": ids, "with_payload": payload, "with_vector": list(vector) or False}
        return (await self.client.call("POST", f"{_path(name)}/points", Answer[list[Point]], document)).result

    async def scroll(
        self,
        name: str,
        where: Document,
        *,
        limit: int,
        offset: str | int | None = None,
        payload: bool | Sequence[str] = True,
        vector: Sequence[str] = (),
    ) -> Page:
        """A page of the points that pass a filter, in the order of their ids."""
        document: Document = {
            "filter": where,
            "limit": limit,
            "offset": offset,
            "with_payload": payload,
            "with_vector": list(vector) or False,
        }
        return (await self.client.call("POST", f"{_path(name)}/points/scroll", Answer[Page], document)).result

    async def count(self, name: str, where: Document | None = None) -> int:
        """The number of points that pass a filter."""
        document = {"exact": True, "filter": where}
        return (await self.client.call("POST", f"{_path(name)}/points/count", Answer[Count], document)).result.count

    async def query(self, name: str, queries: Sequence[Mapping[str, object]]) -> list[list[Point]]:
        """The answers of several queries on one collection."""
        target = f"{_path(name)}/points/query/batch?timeout={RESPONSE_TIMEOUT:.0f}"
        answer = await self.client.call("POST", target, Answer[list[Points]], {"searches": queries})
        return [one.points for one in answer.result]

    async def _update(self, method: str, name: str, path: str, document: Document) -> None:
        answer = await self.client.call(method, f"{_path(name)}{path}{WAIT}", Answer[Update], document)
        self._check(answer.result)

    def _check(self, update: Update) -> None:
        if update.status != "completed":
            raise self.client.make_error(f"has not completed a change: {update.status}")


def _path(name: str) -> str:
    return f"/collections/{quote(name, safe='')}"
