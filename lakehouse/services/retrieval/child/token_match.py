"""Token match: how well the tokens of a query occur in a document, by the word vectors of the embedding model.

Each token of the query is compared with every token of the document; the best cosine counts, weighted by how rare the
token is in the index:

    match = sum(rarity(q) * max(0, max over d of cos(q, d)) for q in query) / sum(rarity(q) for q in query)

It needs no neural network: the distinct tokens of the candidates are multiplied with those of the query once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.uint16]
Floats = NDArray[np.float32]


def rarity_of(document_frequencies: NDArray[np.int64], documents: int) -> Floats:
    """The inverse document frequency of every token of the vocabulary, as BM25 defines it."""
    rest = documents - document_frequencies
    return np.log1p((rest + 0.5) / (document_frequencies + 0.5)).astype(np.float32)


class TokenMatcher:
    """Compares tokens by the vectors of an embedding model."""

    def __init__(self, token_vectors: Floats) -> None:
        """`token_vectors` has one row for each token of the vocabulary, of any length."""
        norms = np.linalg.norm(token_vectors, axis=1, keepdims=True)
        self._vectors = np.asarray(token_vectors / np.maximum(norms, 1e-9), dtype=np.float32)

    def match(self, query: Tokens, documents: Tokens, sizes: NDArray[np.int64], rarity: Floats) -> Floats:
        """Score documents between 0 and 1.

        `documents` has the distinct tokens of the documents one after the other, `sizes` the number of each. A document
        or a query without tokens scores 0.
        """
        scores = np.zeros(len(sizes), dtype=np.float32)
        asked = np.unique(query)
        filled = np.flatnonzero(sizes)
        if not len(asked) or not len(filled):
            return scores
        places = np.zeros(len(self._vectors), dtype=np.int32)
        places[documents] = 1
        present = np.flatnonzero(places)
        places[present] = np.arange(len(present), dtype=np.int32)
        cosines = self._vectors[present] @ self._vectors[asked].T
        np.maximum(cosines, 0.0, out=cosines)
        starts = (np.cumsum(sizes) - sizes)[filled]
        best = np.maximum.reduceat(cosines[places[documents]], starts, axis=0)
        weights = rarity[asked]
        scores[filled] = best @ (weights / max(float(weights.sum()), 1e-9))
        return scores
