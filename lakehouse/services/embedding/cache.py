"""The cache of embeddings: the vectors of the texts that were used last, by model and text, and their JSON.

A long text is known by its hash, so that the cache holds vectors and not the texts.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from lakehouse.services.contracts.embedder import CacheStats
from lakehouse.services.embedding.vectors import to_json

MAX_KEPT_TEXT = 256
"""Characters of the longest text that is its own key."""
MAX_JSON = 32 * 2**20
"""Bytes of JSON that are kept: a vector of 768 numbers is 9 kB, and takes 0.2 ms to encode."""

Key = tuple[str, str | bytes]


class Embedded(msgspec.Struct, frozen=True, gc=False):
    """The vector of one text. `tokens` is None if the model does not count; `truncated`: the text was cut."""

    vector: bytes
    tokens: int | None = None
    truncated: bool = False


def make_key(model: str, text: str) -> Key:
    """The key of a text under a model."""
    if len(text) <= MAX_KEPT_TEXT:
        return model, text
    return model, hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class EmbeddingCache:
    """At most `size` texts; 0 keeps none. What was used least recently goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Key, Embedded] = OrderedDict()
        self._json: OrderedDict[Key, bytes] = OrderedDict()
        self._json_bytes = 0
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, *, truncate: bool) -> Embedded | None:
        """The vector of a text. One of a text that was cut is found only by who allows that."""
        entry = self._entries.get(key)
        if entry is None or (entry.truncated and not truncate):
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry

    def put(self, key: Key, entry: Embedded) -> None:
        """Keep the vector of a text."""
        if self._size:
            self._forget_json(key)
            self._entries[key] = entry
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                oldest, _ = self._entries.popitem(last=False)
                self._forget_json(oldest)

    def forget(self, keys: Iterable[Key]) -> None:
        """Forget the vectors of some texts."""
        for key in keys:
            self._entries.pop(key, None)
            self._forget_json(key)

    def encode(self, key: Key, entry: Embedded) -> bytes:
        """The vector as JSON, kept as long as there is room for it."""
        if (encoded := self._json.get(key)) is not None:
            self._json.move_to_end(key)
            return encoded
        encoded = to_json(entry.vector)
        if self._entries.get(key) is entry:
            self._json[key] = encoded
            self._json_bytes += len(encoded)
            while self._json_bytes > MAX_JSON:
                _, dropped = self._json.popitem(last=False)
                self._json_bytes -= len(dropped)
        return encoded

    def _forget_json(self, key: Key) -> None:
        self._json_bytes -= len(self._json.pop(key, b""))

    def stats(self) -> CacheStats:
        """The figures since the start."""
        asked = self.hits + self.misses
        return CacheStats(
            hits=self.hits,
            misses=self.misses,
            hit_rate=self.hits / asked if asked else 0.0,
            size=len(self._entries),
        )
