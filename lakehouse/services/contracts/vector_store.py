"""The contract of a vector store: a server that keeps indexes for many services, and gives raw lists of candidates.

Everything that needs no data of the server is done above it: checks of a request, embedding, the words and tokens of
texts, the scores of hybrid searches. Every call may raise ErrUnreached, ErrUpstream, ErrUnavailable and ErrTimeout, and
ErrNotFound for an unknown index. It ends with its cancel scope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from lakehouse.core.errors import ErrConflict, ErrNotFound
from lakehouse.services.contracts.filter_language import Filter
from lakehouse.services.contracts.retrieval import Digest, IndexOptions, Merged, StoredItem, Written


class StoredIndex(msgspec.Struct, frozen=True, kw_only=True):
    """An index as the store has it. `version` is another one after each write, and greater; not the next number.

    `identity` tells an index from a later one with its name. `exact` and `recall` are those of `IndexInfo`.
    """

    options: IndexOptions
    identity: str
    created_ms: int
    length: int
    version: int
    source: bytes = b""
    exact: bool = True
    recall: float | None = None


class StoreItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a write, checked and analysed.

    `vector` is empty if it has none. A `text` of None keeps that of the item that is replaced, with its words and
    tokens; empty metadata keep those. `words` are the stems of the text, separated by spaces, `counts` how often each
    of them occurs, in the same order, `length` is the number of words. `tokens` are the distinct tokens of the embedded
    model as little-endian uint16.
    """

    id: str
    vector: bytes = b""
    text: str | None = None
    metadata: bytes = b""
    source: str = ""
    digest: bytes = b""
    words: str = ""
    counts: str = ""
    length: int = 0
    tokens: bytes = b""


class StoreWrite(msgspec.Struct, frozen=True, kw_only=True):
    """A write to one index: deletions first, then items with ids that differ.

    `options` are those that the items were prepared for: an index with others by now raises ErrConflict. With `create`
    an index that is missing is created with these options, in the same transaction where the store has such.
    `replace_source` (if it is not empty) is the source of all items, and items of it that are not among them are
    deleted. An empty `source_state` keeps that of the index.
    """

    index: str
    options: IndexOptions
    items: Sequence[StoreItem] = ()
    delete_ids: Sequence[str] = ()
    delete_where: Filter | None = None
    replace_source: str = ""
    source_state: bytes = b""
    create: bool = False


class CorpusSearch(msgspec.Struct, frozen=True, kw_only=True):
    """One index of a search. `vector` is empty if the query has none for it; all `filters` must hold.

    `identity` is that of the index that the vector was made for: another one by now raises ErrConflict.
    """

    index: str
    identity: str
    vector: bytes = b""
    filters: Sequence[Filter] = ()


class CandidateSearch(msgspec.Struct, frozen=True, kw_only=True):
    """The best `nearest` vectors of each index, and the best `by_words` texts of all indexes; 0 for no such list.

    `words` are the distinct stems of the query. Their document frequencies, and those of `tokens`, are counted over all
    items of the named indexes, whatever the filters.
    """

    corpora: Sequence[CorpusSearch]
    nearest: int = 0
    words: Sequence[str] = ()
    by_words: int = 0
    tokens: Sequence[int] = ()
    with_text: bool = False
    with_metadata: bool = True


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate of the index `corpora[corpus]`. `distance` is None if it has no vector or the query has none.

    `keyword` is its BM25 score if it is in the list by words. Ranks are counted from 1: in the list of its index by
    vectors, and in that of all indexes by words. `tokens` are there if the search has tokens.
    """

    corpus: int
    id: str
    distance: float | None = None
    keyword: float | None = None
    vector_rank: int | None = None
    keyword_rank: int | None = None
    metadata: bytes = b""
    text: str | None = None
    tokens: bytes = b""


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """What a search has found. `versions` and `exact` are those of each corpus, in their order.

    `frequencies` has the number of items with each of the query's tokens, `documents` that of items with tokens. A
    store that does not count them leaves both empty: rarity is then that among the candidates.
    """

    found: Sequence[Candidate]
    versions: Sequence[int]
    exact: Sequence[bool]
    frequencies: Sequence[int] = ()
    documents: int = 0


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The version of the server, and why it does not fit; an empty problem if it does."""

    version: str
    problem: str = ""


class VectorStore(Protocol):
    """The indexes of one lake on a server. A write is durable at return, and every service finds it.

    `name` says for a person what and where the store is, without secrets.
    """

    @property
    def name(self) -> str: ...

    async def find_indexes(self, names: Sequence[str] | None = None) -> Sequence[StoredIndex]:
        """These indexes, as far as they are there; None: all of them, in the order of their names."""

    async def create_index(self, options: IndexOptions) -> StoredIndex:
        """Create an index. Raises ErrConflict if the name is taken, ErrBadRequest for what the store cannot have."""

    async def delete_index(self, name: str) -> None:
        """Delete an index with its items."""

    async def write(self, write: StoreWrite) -> Written:
        """Delete and add items."""

    async def merge(self, source: str, dest: str, *, clear_source: bool = False) -> Merged:
        """Copy what the destination lacks. The indexes differ, and have one dimension and one model."""

    async def search(self, search: CandidateSearch) -> Candidates:
        """Find candidates, all of one state of the store if it can do that."""

    async def get_items(self, index: str, ids: Sequence[str], *, with_vector: bool = False) -> Mapping[str, StoredItem]:
        """The items with these ids that are there."""

    async def list_digests(self, index: str, *, after: str = "", limit: int = 10_000) -> Sequence[Digest]:
        """Ids and digests in the order of the ids by code points, from the first one greater than `after`."""

    async def check(self) -> StoreStatus:
        """Ask the server for its version."""


def make_not_found(index: str) -> ErrNotFound:
    """The error of an index that is not there."""
    return ErrNotFound(f"there is no index {index!r}", field="index")


def make_replaced(index: str) -> ErrConflict:
    """The error of an index that another service has replaced during the request."""
    return ErrConflict(f"the index {index!r} was replaced meanwhile", field="index", retryable=True)


def make_taken(index: str) -> ErrConflict:
    """The error of a name that is in use."""
    return ErrConflict(f"there is an index {index!r} already", field="name")
