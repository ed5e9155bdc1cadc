"""The descriptions of all indexes: one record for each, in a collection of their own.

A write upserts the keys that it changes, so one service does not undo what another one has written to other keys.
"""

from __future__ import annotations

from array import array
from base64 import b64encode
from collections.abc import Sequence

import msgspec

from lakehouse.services.contracts.retrieval import IndexOptions
from lakehouse.services.vector_stores.chroma.api import ChromaApi, Document
from lakehouse.services.vector_stores.remote.client import Refused
from lakehouse.services.vector_stores.remote.words import TextLengths

PLACEHOLDER = b64encode(array("f", [1.0]).tobytes()).decode()
"""The embedding of a description, which needs one."""


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """The description of an index.

    `collection` is the id of its collection; `vectorless` says whether there may be items without a vector.
    """

    options: str
    identity: str
    collection: str
    created: int
    version: int
    texts: int = 0
    words: int = 0
    source: str = ""
    vectorless: bool = False

    @property
    def index(self) -> IndexOptions:
        return msgspec.json.decode(self.options, type=IndexOptions)

    @property
    def lengths(self) -> TextLengths:
        return TextLengths(self.texts, self.words)


class Catalog:
    """The collection with the descriptions."""

    def __init__(self, api: ChromaApi, name: str) -> None:
        self._api = api
        self._name = name
        self._id = ""

    async def find(self, names: Sequence[str] | None = None) -> list[Description]:
        """The descriptions of these indexes, as far as they are there; None: of all."""
        try:
            found = await self._api.get(await self._find_id(), ids=names, include=("metadatas",))
        except Refused as refused:
            if refused.status != 404:
                raise
            self._id = ""  # somebody has deleted the collection
            found = await self._api.get(await self._find_id(), ids=names, include=("metadatas",))
        return [msgspec.convert(metadata, Description) for metadata in found.metadatas or () if metadata]

    async def put(self, name: str, changes: Document) -> None:
        """Write some keys of a description."""
        await self._api.upsert(await self._find_id(), [name], [PLACEHOLDER], [changes])

    async def delete(self, name: str) -> None:
        """Delete a description."""
        await self._api.delete_records(await self._find_id(), [name])

    async def _find_id(self) -> str:
        if not self._id:
            made = await self._api.create_collection(self._name, "l2", get=True)
            if made is None:
                raise self._api.client.make_error(f"has the collection {self._name!r}, and refuses to show it")
            self._id = made.id
        return self._id
