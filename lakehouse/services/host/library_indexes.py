"""The indexes of a lake without a server: `lake.create_index`, `lake.add`, `lake.search`, `lake.sync`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from lakehouse.asgi.in_process import call_app
from lakehouse.asgi.types import App
from lakehouse.services.contracts.retrieval import Distance, FieldType, SearchMode

_JSON = (("content-type", "application/json"),)


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """One result of a search.

    `distance` is None for an item without a vector. `score`, greater is better, is there after a search for a text,
    with its signals (`keyword`, `cosine`, `token`, and the ranks) in `scores`.
    """

    id: str
    distance: float | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = None
    score: float | None = None
    scores: dict[str, float] = {}


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a search, the best hit first. `exact`: every item was compared."""

    results: tuple[SearchHit, ...]
    exact: bool
    version: int


class AddResult(msgspec.Struct, frozen=True, kw_only=True):
    """New and replaced items, and the length of the index after it."""

    added: int
    replaced: int
    length: int


class DeleteResult(msgspec.Struct, frozen=True, kw_only=True):
    """Deleted items, and the length of the index after it."""

    deleted: int
    length: int


class SyncResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync wrote and deleted, and the snapshots before and after it."""

    added: int
    replaced: int
    deleted: int
    length: int
    from_snapshot: str | None
    to_snapshot: str


class LakeIndexes:
    """The calls of a `Lake` to its indexes."""

    _apps: Mapping[str, App]

    async def create_index(
        self,
        name: str,
        *,
        model: str = "",
        dimension: int | None = None,
        distance: Distance = "cosine",
        fields: Mapping[str, FieldType] | None = None,
    ) -> None:
        """Create an index: of vectors with a `dimension`, or of texts with an embedding `model`.

        Without either, the default model embeds the texts. Raises ErrConflict if the name is taken.
        """
        model = model if model or dimension is not None else "default"
        document = {"name": name, "model": model, "dimension": dimension, "distance": distance, "fields": fields or {}}
        await self._post("", document)

    async def delete_index(self, index: str) -> None:
        """Delete an index with its items. Raises ErrNotFound."""
        async with call_app(self._apps["vectord"], "DELETE", _path(index)) as answer:
            await answer.read()

    async def add(self, index: str, items: Iterable[Mapping[str, object]]) -> AddResult:
        """Add items, `{"id", "text" or "vector", "metadata"}`, and replace those with the same ids; durable at return.

        Raises ErrBadRequest, with the position of the item in its `details`, and ErrNotFound.
        """
        document = {"items": [_plain(item) for item in items]}
        return msgspec.json.decode(await self._post(_path(index, "add"), document), type=AddResult)

    async def search(
        self,
        index: str,
        text: str | None = None,
        *,
        vector: Sequence[float] | None = None,
        k: int = 10,
        mode: SearchMode | None = None,
        weight: float | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the name in the HTTP API
    ) -> SearchResult:
        """Search an index by a text, by a vector, or by both.

        Raises ErrNotFound, ErrBadRequest, and ErrConflict if the index is of another model.
        """
        given = {"text": text, "vector": vector, "k": k, "mode": mode, "weight": weight, "filter": filter}
        document = _plain({name: value for name, value in given.items() if value is not None})
        document["with"] = ["text", "metadata", "scores"]
        return msgspec.json.decode(await self._post(_path(index, "search"), document), type=SearchResult)

    async def delete_items(
        self,
        index: str,
        ids: Sequence[str] | None = None,
        *,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the name in the HTTP API
    ) -> DeleteResult:
        """Delete the items with these ids, or those that match a filter."""
        document = {"ids": ids} if filter is None else {"filter": filter}
        return msgspec.json.decode(await self._post(_path(index, "delete"), document), type=DeleteResult)

    async def sync(
        self,
        index: str,
        table: str | None = None,
        *,
        key: str | None = None,
        text: str | Sequence[str] | None = None,
        metadata: Sequence[str] | None = None,
    ) -> SyncResult:
        """Bring an index to the newest snapshot of a table; later calls need no table and columns.

        Raises ErrNotFound, ErrBadRequest for a column that the table lacks, ErrUnprocessable for a key that is NULL or
        not unique.
        """
        given = {"table": table, "key": key, "text": text, "metadata": metadata}
        document = {name: value for name, value in given.items() if value is not None}
        return msgspec.json.decode(await self._post(_path(index, "sync"), document), type=SyncResult)

    async def _post(self, path: str, document: object) -> bytes:
        body = msgspec.json.encode(document)
        async with call_app(
            self._apps["vectord"], "POST", path or "/vectors/index", headers=_JSON, body=body
        ) as answer:
            return await answer.read()


def _path(index: str, verb: str = "") -> str:
    return f"/vectors/index/{quote(index, safe='')}" + (f"/{verb}" if verb else "")


def _plain(document: Mapping[str, object]) -> dict[str, Any]:
    """The document with its vector as a list of numbers: it may be an array of another package."""
    vector: Any = document.get("vector")
    return dict(document) if vector is None else {**document, "vector": [float(value) for value in vector]}
