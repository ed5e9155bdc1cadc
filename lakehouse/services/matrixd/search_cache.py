"""The results of recent searches by vector, valid while the searched indexes are unchanged.

A result is kept with the state of its indexes from before the search. A write that ends later makes another state, so
no search that begins after a write is answered from before it. Searches by word are not kept: a new item is found by
word a moment after it is written.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from lakehouse.services.contracts.retrieval import CorpusQuery, ManyHits, RetrievalEngine
from lakehouse.services.matrixd.requests import MatrixSearchRequest

MAX_BYTES = 32 * 2**20
"""Bytes of all results, and of the questions that they answer."""
ENTRY_OVERHEAD = 2_000
"""Bytes that a result takes beside its own."""

Key = tuple[object, ...]
State = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    state: State
    hits: ManyHits
    size: int


class SearchCache:
    """The last `max_entries` results; 0 keeps none."""

    def __init__(self, engine: RetrievalEngine, max_entries: int) -> None:
        self._engine = engine
        self._max_entries = max_entries
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self.size = 0
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def make_key(self, request: MatrixSearchRequest) -> Key | None:
        """The key of a request; None for one whose results are not kept."""
        if not self._max_entries or request.partial or request.mode != "vector":
            return None
        return request.retrieval_key

    async def read_state(self, request: MatrixSearchRequest) -> State:
        """The state of the searched indexes."""
        return await self._engine.read_state([corpus.index for corpus in request.choices])

    def find(self, key: Key, state: State) -> ManyHits | None:
        """The result of an equal search of indexes that are unchanged since."""
        entry = self._entries.get(key)
        if entry is None or entry.state != state:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry.hits

    def keep(self, key: Key, state: State, hits: ManyHits) -> None:
        """Keep a result in place of the ones that were used least recently."""
        entry = _Entry(state, hits, len(hits.results) + _measure(key) + ENTRY_OVERHEAD)
        if (replaced := self._entries.pop(key, None)) is not None:
            self.size -= replaced.size
        self._entries[key] = entry
        self.size += entry.size
        while self.size > MAX_BYTES or len(self._entries) > self._max_entries:
            _, oldest = self._entries.popitem(last=False)
            self.size -= oldest.size


def _measure(part: object) -> int:
    """The bytes that a part of a key may take."""
    if isinstance(part, str):
        return 4 * len(part)
    if isinstance(part, bytes):
        return len(part)
    if isinstance(part, CorpusQuery):
        return _measure(part.index) + len(part.filter) + len(part.vector)
    return sum(map(_measure, part)) if isinstance(part, tuple) else 0
