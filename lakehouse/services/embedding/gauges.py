"""The gauges of the embedder."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lakehouse.services.embedding.cache import EmbeddingCache
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family

_SIZE = Family("embedd_cache_size", "gauge", "Texts in the cache of embeddings.")
_HITS = Family("embedd_cache_hits", "gauge", "Texts that were found in the cache of embeddings since the start.")
_MISSES = Family("embedd_cache_misses", "gauge", "Texts that were not in the cache of embeddings since the start.")
_CALLS = Family("embedd_calls", "gauge", "Batches of texts that were sent to embedding models since the start.")
_TEXTS = Family("embedd_texts", "gauge", "Texts that were sent to embedding models since the start.")
_WAITING = Family("embedd_waiting", "gauge", "Texts that wait for an embedding model.")


class EmbedderCounts:
    """Calls to models, and the texts in them, since the start."""

    def __init__(self) -> None:
        self.calls = self.texts = 0

    def count_call(self, texts: int) -> None:
        """A batch is sent to a model."""
        self.calls += 1
        self.texts += texts


def embedder_gauges(cache: EmbeddingCache, counts: EmbedderCounts, count_waiting: Callable[[], int]) -> Iterable[Gauge]:
    """The gauges of one embedder."""
    return (
        Gauge(_SIZE, lambda: [((), len(cache))]),
        Gauge(_HITS, lambda: [((), cache.hits)]),
        Gauge(_MISSES, lambda: [((), cache.misses)]),
        Gauge(_CALLS, lambda: [((), counts.calls)]),
        Gauge(_TEXTS, lambda: [((), counts.texts)]),
        Gauge(_WAITING, lambda: [((), count_waiting())]),
    )
