"""Which model the vectors of an index come from, and who computes them.

The engine itself embeds texts with the embedded model. For every other model this service embeds them beforehand, and
the engine is given texts and vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.core.errors import ErrBadRequest, ErrUnprocessable, LakehouseError
from lakehouse.services.contracts.embedder import NamedEmbedder
from lakehouse.services.contracts.known_indexes import KnownIndexes
from lakehouse.services.contracts.retrieval import IndexInfo, Item, RetrievalEngine

DEFAULT = "default"
"""The name by which a request selects the default model."""
PROBE = "dimension"
"""The text whose vector says how many components the vectors of a model have."""


class IndexModels:
    """The models of the indexes. `embedded` is the name of the model that the engine has."""

    def __init__(self, engine: RetrievalEngine, embedder: NamedEmbedder, *, embedded: str) -> None:
        self._indexes = KnownIndexes(engine)
        self._embedder = embedder
        self._embedded = embedded

    def resolve(self, model: str) -> str:
        """The name of a model as an index has it; nothing for no model. Raises ErrBadRequest."""
        return self._embedder.resolve("" if model == DEFAULT else model) if model else ""

    def embeds_itself(self, model: str) -> bool:
        """Whether the engine has the model."""
        return model == self._embedded

    async def find_dimension(self, model: str) -> int:
        """The number of components of the model's vectors, found by a probe; 0 if the engine knows it."""
        if not model or self.embeds_itself(model):
            return 0
        return (await self._embedder.embed([PROBE], model=model)).dimension

    async def describe(self, index: str) -> IndexInfo:
        """An index, of which only the options are up to date. Raises ErrNotFound."""
        return await self._indexes.describe(index)

    async def embed_query(self, text: str, info: IndexInfo) -> bytes:
        """The vector of a query; nothing if the engine computes it, or the index has no model."""
        if not info.model or self.embeds_itself(info.model):
            return b""
        return (await self._embedder.embed([text], model=info.model, kind="query", truncate=True)).vectors

    async def embed_items(self, items: Sequence[Item], info: IndexInfo, *, truncate: bool) -> Sequence[Item]:
        """The items with vectors, for the engine. Raises ErrBadRequest for a text without a vector or a model."""
        without = [(n, item) for n, item in enumerate(items) if not item.vector and item.text is not None]
        if not without or self.embeds_itself(info.model):
            return items
        if not info.model:
            number = without[0][0]
            raise ErrBadRequest(
                f"`items[{number}].vector` is required: the index {info.name!r} has no embedding model",
                field=f"items[{number}].vector",
                details={"item": number},
            )
        return await self._embed(items, without, info.model, truncate)

    async def _embed(
        self, items: Sequence[Item], without: Sequence[tuple[int, Item]], model: str, truncate: bool
    ) -> Sequence[Item]:
        texts = [item.text or "" for _, item in without]
        try:
            found = await self._embedder.embed(texts, model=model, kind="document", truncate=truncate)
        except (ErrUnprocessable, ErrBadRequest) as error:
            raise _locate(error, [number for number, _ in without]) from None
        embedded = list(items)
        for (number, item), vector in zip(without, found.split(), strict=True):
            embedded[number] = msgspec.structs.replace(item, vector=vector)
        return embedded


def _locate(error: LakehouseError, numbers: Sequence[int]) -> LakehouseError:
    """The error about one of the texts as one about the item that has it."""
    place = (error.details or {}).get("item")
    if not isinstance(place, int) or not 0 <= place < len(numbers):
        return error
    field = f"items[{numbers[place]}].text"
    details = {**(error.details or {}), "item": numbers[place]}
    return type(error)(f"`{field}`: {error.message}", field=field, details=details)
