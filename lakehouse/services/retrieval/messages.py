"""Calls to the engine's child and its replies, as msgpack. Both sides import this module: neither trio nor numpy.

The public values are those of `services.contracts.retrieval`. A frame is a length, the number of the call, and a body:

    client ──> body = one of the calls below; an empty body cancels the call of that number
    child  ──> body = `OK` and the msgpack of the reply, or `FAILED` and that of a `Failure`

Any number of calls is under way at a time; replies come in any order. A cancelled call has no reply.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from lakehouse.services.contracts.retrieval import CorpusQuery, IndexOptions, Item, SearchQuery

HEADER = struct.Struct("<II")
"""The length of the body, and the number of the call."""
ONE_WAY = 0
"""The number of a frame that belongs to no call, or to one that nobody waits for."""
OK, FAILED = b"\0", b"\1"
CANDIDATES = 100
"""Length of the keyword list and of the vector list of a hybrid search."""
MAX_BATCH = 128
"""Calls that are answered together, if so many wait."""
MAX_FRAME = 256 * 2**20
"""Bytes of a body: a batch of 64 MiB of JSON becomes a smaller one of float32."""


class RetrievalSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the child.

    `directory` is the engine's own folder, `descriptor` that of the socket. `model` names the function that loads the
    embedded model, "package.module:function", and `model_name` is the name by which indexes select it; both are empty
    if there is none. `max_batch` is how many waiting calls are answered together.
    """

    directory: str
    descriptor: int
    model: str = ""
    model_name: str = ""
    max_batch: int = MAX_BATCH


class Call(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """A call to the child."""


class CreateIndex(Call, frozen=True, kw_only=True, array_like=True):
    """The reply is an `IndexInfo`."""

    options: IndexOptions


class ListIndexes(Call, frozen=True, kw_only=True, array_like=True):
    """The reply is a list of `IndexInfo`."""


class GetIndex(Call, frozen=True, kw_only=True, array_like=True):
    """The reply is an `IndexInfo`."""

    index: str


class DeleteIndex(Call, frozen=True, kw_only=True, array_like=True):
    """The reply is null."""

    index: str


class Write(Call, frozen=True, kw_only=True, array_like=True):
    """One transaction: `replace_source` (if it is not empty) makes `items` the only ones of that source.

    `delete_ids` and the items that match `delete_where` are deleted first. `create` are the options of an index that is
    created if it is missing. With `wait_for_words` the reply is sent when keyword searches find the texts. The reply is
    a `Written`.
    """

    index: str
    items: list[Item] = []
    model: str = ""
    replace_source: str = ""
    delete_ids: list[str] = []
    delete_where: bytes = b""
    source_state: bytes = b""
    create: IndexOptions | None = None
    wait_for_words: bool = False


class Merge(Call, frozen=True, kw_only=True, array_like=True):
    """The reply is a `Merged`."""

    source: str
    dest: str
    clear_source: bool = False


class Leave(Call, frozen=True, kw_only=True, array_like=True):
    """The client of a series of writes has left. There is no reply, and the number is `ONE_WAY`.

    What was written becomes searchable at once, and what would go on after that is ended.
    """


class Search(Call, frozen=True, kw_only=True, array_like=True):
    """The reply is a `Hits`."""

    index: str
    query: SearchQuery


class SearchMany(Call, frozen=True, kw_only=True, array_like=True):
    """The reply is a `ManyHits`."""

    corpora: list[CorpusQuery]
    query: SearchQuery
    per_corpus_k: int


class GetItems(Call, frozen=True, kw_only=True, array_like=True):
    """The reply is a list of `StoredItem`."""

    index: str
    ids: list[str]
    with_vector: bool = False


class ListDigests(Call, frozen=True, kw_only=True, array_like=True):
    """The reply is a list of `Digest`."""

    index: str
    after: str = ""
    limit: int = 10_000


class CompleteOptions(Call, frozen=True, kw_only=True, array_like=True):
    """Check the options of an index that another store has. The reply is an `IndexOptions` with its dimension."""

    options: IndexOptions


class PrepareItems(Call, frozen=True, kw_only=True, array_like=True):
    """Check and analyse items for an index that another store has. The reply is a list of `StoreItem`."""

    options: IndexOptions
    items: list[Item]
    model: str = ""


class PrepareQuery(Call, frozen=True, kw_only=True, array_like=True):
    """Check and analyse a query for indexes that another store has: their options, and the vectors given for them.

    The reply is a `PreparedQuery`. `per_corpus_k` is 0 for a search of one index.
    """

    query: SearchQuery
    options: list[IndexOptions]
    vectors: list[bytes]
    per_corpus_k: int = 0


class ScoreCandidates(Call, frozen=True, kw_only=True, array_like=True):
    """Score the candidates of a hybrid search in another store. The reply is a list of `ScoredCandidate`.

    NaN stands for a signal that is missing, `floor` is the BM25 score of a candidate without one. `tokens` are those of
    the query and `documents` those of the candidates; `frequencies` says in how many of `counted` items each of the
    query's tokens is; without it, that is counted among the candidates.
    """

    query: SearchQuery
    keyword: list[float]
    cosine: list[float]
    floor: float
    words_model: bool
    tokens: list[int] = []
    documents: list[bytes] = []
    frequencies: list[int] = []
    counted: int = 0


class Embed(Call, frozen=True, kw_only=True, array_like=True):
    """The reply is an `EmbeddedTexts`."""

    texts: list[str]
    truncate: bool = False


class Stats(Call, frozen=True, kw_only=True, array_like=True):
    """The reply is an `EngineStats`."""


AnyCall = (
    CreateIndex
    | ListIndexes
    | GetIndex
    | DeleteIndex
    | Write
    | Merge
    | Leave
    | Search
    | SearchMany
    | GetItems
    | ListDigests
    | CompleteOptions
    | PrepareItems
    | PrepareQuery
    | ScoreCandidates
    | Embed
    | Stats
)


PreparingCall = CompleteOptions | PrepareItems | PrepareQuery | ScoreCandidates
"""The calls for indexes that another store has."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call failed: the code of a `LakehouseError`, its message, the field at fault, details for programs."""

    code: str
    message: str
    field: str = ""
    details: dict[str, int | str] = {}


class PreparedQuery(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A query as a store needs it: its vector for each index (empty for none), or why an index cannot be searched.

    `words` are the distinct stems of its text, `tokens` the distinct tokens of the embedded model.
    """

    vectors: list[bytes]
    failures: list[Failure | None]
    words: list[str] = []
    tokens: list[int] = []
    words_model: bool = False


class ScoredCandidate(msgspec.Struct, frozen=True, array_like=True):
    """A candidate by its position in the call, its score, and its token match (None without one); the best first."""

    position: int
    score: float
    token: float | None


class FrameError(Exception):
    """The bytes on the socket are not frames."""


def encode_frame(number: int, body: bytes) -> bytes:
    """Make a frame. Raises ValueError for a body that is too large."""
    if len(body) > MAX_FRAME:
        raise ValueError(f"a frame of {len(body)} bytes is larger than the {MAX_FRAME} that are allowed")
    return HEADER.pack(len(body), number) + body


class FrameDecoder:
    """Decodes frames from a stream of bytes, independent of how the stream is split."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield number and body of the frames that `data` completes. Raises FrameError."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= HEADER.size:
                size, number = HEADER.unpack_from(buffer, start)
                if size > MAX_FRAME:
                    raise FrameError(f"a frame of {size} bytes is larger than the {MAX_FRAME} that are allowed")
                end = start + HEADER.size + size
                if len(buffer) < end:
                    break
                yield number, bytes(memoryview(buffer)[start + HEADER.size : end])
                start = end
        finally:
            del buffer[:start]
