"""The contract of the retrieval engine: named indexes of vectors and texts, searched by meaning and by word.

A vector is the bytes of its components as little-endian float32 (`array("f", values).tobytes()`). Metadata and filters
are JSON objects as bytes, empty if omitted; metadata passes through as it was given.

A filter is `{"field": value}`, `{"field": [value, ...]}`, `{"field": {"gte": 1, "lt": 5}}` (also `gt`, `lte`, `ne`,
`exists`), `{"and": [filter, ...]}`, `{"or": [filter, ...]}`, `{"not": filter}`; all parts of an object must hold. It is
applied before the cut at `k`, so `k` results come if `k` items match.

Every call raises ErrNotFound for an unknown index, ErrBadRequest with `field` and, for a batch, `details` with the
position of the `item`, and ErrUnavailable with `retry_after` if the engine has ended or does not start. A call that is
cancelled ends at once, and the engine stops its work for it; a write is then complete or without effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

Distance = Literal["cosine", "dot", "euclidean"]
"""How vectors are compared: 1 - cosine, the negative inner product, the Euclidean distance (not squared)."""
FieldType = Literal["int", "float", "bool", "keyword"]
"""The type of a declared field of the metadata, by which filters are fast."""
SearchMode = Literal["vector", "keyword", "hybrid"]
Rerank = Literal["", "tokens", "none"]
"""The second stage of a hybrid search. An empty string selects the default of the index's model: "tokens" for the
embedded one, unless the query has a weight."""


class IndexOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A new index.

    With `model` the vectors of texts and queries come from that embedding model; the engine itself embeds the texts of
    an index whose model is the embedded one, and `dimension` is then 0 or the model's. `keyword` makes the texts
    searchable by word. `fields` are the metadata's fields for filters. `approximate` permits a search that may miss
    results once it pays; `IndexInfo.recall` then has its measured recall.
    """

    name: str
    dimension: int = 0
    distance: Distance = "cosine"
    model: str = ""
    keyword: bool = True
    fields: dict[str, FieldType] = {}
    approximate: bool = False


class IndexInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An index at the time of the call.

    `version` grows with every write to the index. `keyword_lag` is the number of items that a keyword search cannot
    find yet. `memory` is the bytes of the index in the engine. `exact` is false while searches are approximate, with
    `recall` as the part of the true ten nearest items that they found in a sample. `source` is what the last write gave
    as the state of the index's source.
    """

    name: str
    dimension: int
    distance: Distance
    model: str
    keyword: bool
    fields: dict[str, FieldType]
    approximate: bool
    length: int
    version: int
    keyword_lag: int
    memory: int
    created_ms: int
    exact: bool = True
    recall: float | None = None
    source: bytes = b""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a write: its id, and a vector, or a text that the engine embeds, or both.

    An item whose id is in the index replaces it. Its `metadata` and `text` stay if they are omitted (empty
    bytes, None); `{}` and an empty text clear them. `source` groups items for `replace_source`. `digest` is any short
    value by which the caller recognizes a changed item (`list_digests`).
    """

    id: str
    vector: bytes = b""
    text: str | None = None
    metadata: bytes = b""
    source: str = ""
    digest: bytes = b""


class StoredItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item of an index, as it was given; `vector` only if it was asked for."""

    id: str
    vector: bytes = b""
    text: str | None = None
    metadata: bytes = b""
    source: str = ""


class Digest(msgspec.Struct, frozen=True, array_like=True):
    """The id of an item and the digest that its last write gave."""

    id: str
    digest: bytes


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a write: new, replaced and deleted items, and the index after it."""

    added: int = 0
    replaced: int = 0
    deleted: int = 0
    length: int
    version: int


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a merge: copied items, items that the destination had already, and the destination's length."""

    merged: int
    skipped: int
    length: int


class SearchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search for the `k` best items.

    A query has a vector, or a text, or both. A text without a vector is embedded by the engine if the model of the
    index is the embedded one; for another model the caller embeds it. `model` names the model of the vector; an index
    of another model raises ErrConflict. "keyword" compares words only, "vector" vectors only. `weight` is the share of
    the vectors in the score of "hybrid" (0 to 1), by default that of the index's model. `with_text`, `with_scores` and
    `with_metadata` select what a hit has.
    """

    k: int = 10
    vector: bytes = b""
    text: str = ""
    model: str = ""
    mode: SearchMode = "vector"
    weight: float | None = None
    rerank: Rerank = ""
    filter: bytes = b""
    with_text: bool = False
    with_scores: bool = False
    with_metadata: bool = True


class CorpusQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One index of `search_many`. A filter is in addition to that of the query; a vector replaces that of the query."""

    index: str
    filter: bytes = b""
    vector: bytes = b""


class Scores(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The signals of a hit: BM25, cosine, token match, and its positions in both lists, counted from 1."""

    keyword: float | None = None
    cosine: float | None = None
    token: float | None = None
    keyword_rank: int | None = None
    vector_rank: int | None = None


class Hit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One result. `distance` is None if the item has no vector in the index's space; `corpus` is set by `search_many`.

    `score` is the score of "keyword" and "hybrid", greater is better.
    """

    id: str
    distance: float | None
    corpus: str = ""
    metadata: msgspec.Raw = msgspec.Raw(b"")
    score: float | None = None
    scores: Scores | None = None
    text: str | None = None


class Hits(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a search: `results` is the JSON array of `Hit`, the best first, ready for a response."""

    results: bytes
    count: int
    version: int
    exact: bool = True
    model: str = ""
    keyword_lag: int = 0

    def decode(self) -> list[Hit]:
        """Decode the results."""
        return decode_hits(self.results)


class CorpusFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a corpus was not searched: the code of an error (`ErrNotFound`, `ErrConflict`, ...) and a sentence."""

    code: str
    message: str


class ManyHits(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a search over several indexes, ordered together: see `Hits`.

    `per_corpus` is the number of candidates that each index contributed before the cut at `k`.
    """

    results: bytes
    count: int
    per_corpus: dict[str, int]
    failed: dict[str, CorpusFailure] = {}
    exact: bool = True

    def decode(self) -> list[Hit]:
        """Decode the results."""
        return decode_hits(self.results)


class EmbeddedTexts(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors of texts from the embedded model: float32, one after the other, in the order of the texts.

    `tokens` has the number of tokens of each text before the cut, `truncated` the positions of the texts that were cut.
    """

    model: str
    dimension: int
    vectors: bytes
    tokens: list[int]
    truncated: list[int] = []


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of the engine since its start; sizes are bytes, durations are seconds."""

    indexes: int
    items: int
    memory: int
    searches: int
    batches: int
    search_seconds: float
    shared_searches: int
    """Searches that were answered with the result of an equal one in the same batch."""
    written_items: int
    keyword_lag: int
    keyword_engine: str
    vector_engine: str
    model: str


class RetrievalEngine(Protocol):
    """The indexes of one lake. A write is durable at return."""

    async def read_state(self, indexes: Sequence[str]) -> tuple[object, ...]:
        """What changes with every write to these indexes, their creation and their deletion, by whichever service.

        Between two calls with equal results nothing was written. It changes before the call that writes returns.
        """

    async def create_index(self, options: IndexOptions) -> IndexInfo:
        """Create an index. Raises ErrConflict if the name is taken, ErrBadRequest for options that do not fit."""

    async def list_indexes(self) -> Sequence[IndexInfo]:
        """List all indexes in the order of their names."""

    async def get_index(self, index: str) -> IndexInfo:
        """Describe an index."""

    async def delete_index(self, index: str) -> None:
        """Delete an index with all its items."""

    async def add(
        self,
        index: str,
        items: Sequence[Item],
        *,
        model: str = "",
        delete_ids: Sequence[str] = (),
        source_state: bytes | None = None,
        wait_for_words: bool = False,
    ) -> Written:
        """Add items, and replace those with the same ids; of equal ids in the batch the last one wins.

        All items are checked before one is added. `model` is that of the vectors (ErrConflict for another one).
        The items of `delete_ids` are deleted first, in the same transaction.
        `source_state` is a JSON value that is written in the same transaction (`IndexInfo.source`).
        With `wait_for_words` keyword searches find the items at return; else they do so a little later.
        """

    async def replace_source(
        self,
        index: str,
        source: str,
        items: Sequence[Item],
        *,
        model: str = "",
        source_state: bytes | None = None,
        create: IndexOptions | None = None,
    ) -> Written:
        """Make `items` the only items of the index with this source, in one transaction.

        With `create` an index that is missing is created with these options in the same transaction; one that is there
        must have their model (ErrConflict).
        """

    async def delete_items(
        self, index: str, *, ids: Sequence[str] = (), where: bytes = b"", source_state: bytes | None = None
    ) -> Written:
        """Delete the items with these ids, and those that match the filter `where`."""

    async def merge(self, source: str, dest: str, *, clear_source: bool = False) -> Merged:
        """Copy the items that the destination lacks, in one transaction.

        With `clear_source` the copied items are deleted from the source. Raises ErrBadRequest if both are the same
        index or differ in dimension or model.
        """

    def leave(self) -> None:
        """The client of a series of writes has left: end what would go on after the last one. Does not wait.

        What was written is durable, and is found by its words as after any other write.
        """

    async def search(self, index: str, query: SearchQuery) -> Hits:
        """Search one index. Raises ErrBadRequest for a vector of another dimension, ErrConflict for another model."""

    async def search_many(self, corpora: Sequence[CorpusQuery], query: SearchQuery, *, per_corpus_k: int) -> ManyHits:
        """Search several indexes and order their results together.

        "vector" orders by distance. "hybrid" and "keyword" score the candidates of all indexes with one formula. An
        index that cannot be searched is listed in `failed`; the caller decides whether that is an error.
        """

    async def get_items(self, index: str, ids: Sequence[str], *, with_vector: bool = False) -> Mapping[str, StoredItem]:
        """Return the items with these ids; unknown ids are left out."""

    async def list_digests(self, index: str, *, after: str = "", limit: int = 10_000) -> Sequence[Digest]:
        """List the ids and digests in the order of the ids, from the first one greater than `after`."""

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> EmbeddedTexts:
        """Embed texts with the embedded model. A text beyond its limit raises ErrUnprocessable unless `truncate`.

        Raises ErrNotInstalled if the packages of the model are missing.
        """

    async def stats(self) -> EngineStats:
        """Return the figures of the engine, without starting it: while it does not run, those that were read last."""


_DECODER = msgspec.json.Decoder(list[Hit])


def decode_hits(results: bytes) -> list[Hit]:
    """Decode the JSON array of a search's results."""
    return _DECODER.decode(results)
